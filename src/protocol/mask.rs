//! Masking (RFC 6455, 5.3): byte `i` of the payload is xored with byte `i % 4`
//! of the key.
//!
//! One of the crate's three islands of `unsafe`: vector kernels chosen at run
//! time. Every kernel handles whole vectors from the start and leaves the tail
//! to the portable one; a vector is a multiple of four bytes wide, so the key's
//! phase at the tail is the one it started with.
#![allow(unsafe_code)]

/// Below this length the portable kernel is as fast as any.
const SHORT_BYTES: usize = 64;

/// Xors `bytes` with the key, in place. For the next piece of the
/// same payload, [`rotate`] the key by the length of this one.
#[inline]
pub fn apply(bytes: &mut [u8], key: [u8; 4]) {
    if bytes.len() < SHORT_BYTES { portable(bytes, key) } else { vector(bytes, key) }
}

/// The key for the bytes behind the first `bytes` bytes of payload.
#[inline]
pub const fn rotate(key: [u8; 4], bytes: usize) -> [u8; 4] {
    u32::from_le_bytes(key).rotate_right((bytes % 4) as u32 * 8).to_le_bytes()
}

/// Eight bytes at a time, for any processor.
fn portable(bytes: &mut [u8], key: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(key));
    let wide = half | half << 32;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let (half, tail) = match rest.split_first_chunk_mut::<4>() {
        Some((half, tail)) => (Some(half), tail),
        None => (None, rest),
    };
    if let Some(half) = half {
        *half = (u32::from_ne_bytes(*half) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    // Three at most.
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(target_arch = "x86_64")]
fn vector(bytes: &mut [u8], key: [u8; 4]) {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F, as just seen.
        unsafe { x86::avx512(bytes, key) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just seen.
        unsafe { x86::avx2(bytes, key) }
    } else {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { x86::sse2(bytes, key) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::protocol::mask::portable;
    use std::arch::x86_64::*;

    /// # Safety
    /// The processor must have AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(bytes: &mut [u8], key: [u8; 4]) {
        let wide = _mm512_set1_epi32(i32::from_ne_bytes(key));
        let (vectors, tail) = bytes.as_chunks_mut::<64>();
        for vector in vectors {
            let address = vector.as_mut_ptr().cast();
            // SAFETY: `vector` is 64 bytes of a live exclusive slice; the
            // unaligned forms need no more.
            unsafe {
                let loaded = _mm512_loadu_si512(address);
                _mm512_storeu_si512(address, _mm512_xor_si512(loaded, wide));
            }
        }
        portable(tail, key);
    }

    /// # Safety
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn avx2(bytes: &mut [u8], key: [u8; 4]) {
        let wide = _mm256_set1_epi32(i32::from_ne_bytes(key));
        let (vectors, tail) = bytes.as_chunks_mut::<32>();
        for vector in vectors {
            let address = vector.as_mut_ptr().cast();
            // SAFETY: `vector` is 32 bytes of a live exclusive slice; the
            // unaligned forms need no more.
            unsafe {
                let loaded = _mm256_loadu_si256(address);
                _mm256_storeu_si256(address, _mm256_xor_si256(loaded, wide));
            }
        }
        portable(tail, key);
    }

    /// # Safety
    /// The processor must have SSE2.
    #[target_feature(enable = "sse2")]
    pub unsafe fn sse2(bytes: &mut [u8], key: [u8; 4]) {
        let wide = _mm_set1_epi32(i32::from_ne_bytes(key));
        let (vectors, tail) = bytes.as_chunks_mut::<16>();
        for vector in vectors {
            let address = vector.as_mut_ptr().cast();
            // SAFETY: `vector` is 16 bytes of a live exclusive slice; the
            // unaligned forms need no more.
            unsafe {
                let loaded = _mm_loadu_si128(address);
                _mm_storeu_si128(address, _mm_xor_si128(loaded, wide));
            }
        }
        portable(tail, key);
    }
}

#[cfg(target_arch = "aarch64")]
fn vector(bytes: &mut [u8], key: [u8; 4]) {
    // SAFETY: NEON is part of AArch64.
    unsafe { arm::neon(bytes, key) }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use crate::protocol::mask::portable;
    use std::arch::aarch64::*;

    /// # Safety
    /// The processor must have NEON.
    #[target_feature(enable = "neon")]
    pub unsafe fn neon(bytes: &mut [u8], key: [u8; 4]) {
        let wide = vreinterpretq_u8_u32(vdupq_n_u32(u32::from_ne_bytes(key)));
        let (vectors, tail) = bytes.as_chunks_mut::<16>();
        for vector in vectors {
            let address = vector.as_mut_ptr();
            // SAFETY: `vector` is 16 bytes of a live exclusive slice, and NEON
            // loads and stores need no alignment.
            unsafe { vst1q_u8(address, veorq_u8(vld1q_u8(address), wide)) };
        }
        portable(tail, key);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn vector(bytes: &mut [u8], key: [u8; 4]) {
    portable(bytes, key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(bytes: &[u8], key: [u8; 4]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect()
    }

    type Kernel = (&'static str, fn(&mut [u8], [u8; 4]));

    /// Every kernel that this processor can run.
    fn kernels() -> Vec<Kernel> {
        let mut kernels: Vec<Kernel> =
            vec![("portable", portable), ("chosen", apply), ("vector", vector)];
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: SSE2 is part of x86-64.
            kernels.push(("sse2", |bytes, key| unsafe { x86::sse2(bytes, key) }));
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has AVX2, as just seen.
                kernels.push(("avx2", |bytes, key| unsafe { x86::avx2(bytes, key) }));
            }
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512F, as just seen.
                kernels.push(("avx512", |bytes, key| unsafe { x86::avx512(bytes, key) }));
            }
        }
        kernels
    }

    #[test]
    fn every_kernel_masks_at_every_length_and_alignment() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let source: Vec<u8> = (0..400u32).map(|index| (index * 31 % 251) as u8).collect();
        for (name, kernel) in kernels() {
            for start in 0..66 {
                for end in start..source.len() {
                    let mut bytes = source.clone();
                    kernel(&mut bytes[start..end], key);
                    assert_eq!(bytes[start..end], naive(&source[start..end], key), "{name}");
                    assert_eq!(bytes[..start], source[..start], "{name} wrote before its slice");
                    assert_eq!(bytes[end..], source[end..], "{name} wrote behind its slice");
                }
            }
        }
    }

    #[test]
    fn the_phase_carries_over_every_split() {
        let key = [1, 2, 3, 4];
        let source: Vec<u8> = (0..300u32).map(|index| index as u8).collect();
        for split in 0..source.len() {
            let mut bytes = source.clone();
            let (head, tail) = bytes.split_at_mut(split);
            apply(head, key);
            apply(tail, rotate(key, split));
            assert_eq!(bytes, naive(&source, key));
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_unmasked() {
        // RFC 6455, 5.7: a masked "Hello".
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut bytes, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(&bytes, b"Hello");
    }
}
