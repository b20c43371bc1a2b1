//! Returning free memory from the allocator to the system while memory is short.
//!
//! Allocators keep freed memory for a while, and it may equal the memory in use. The
//! program knows its allocator, a library does not: so the program registers a function.

use std::sync::OnceLock;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Registers `give_back`, which any shard's thread calls after it has closed connections to free
/// memory. It returns free memory to the system, and takes a few milliseconds at most.
/// Only the first call has an effect.
///
/// ```
/// tapecast::base::shortage::on_shortage(|| { /* malloc_trim(0), mi_collect(true), … */ });
/// tapecast::base::shortage::give_back();
/// ```
pub fn on_shortage(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Returns free memory to the system, if the program has registered how.
pub fn give_back() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}
