//! The program gives back free memory that its allocator keeps, while memory is short.
//!
//! Allocators keep what is freed for a while, which may be as much again as is in use. The
//! program knows its allocator, a library does not: so it says what to call.

use std::sync::OnceLock;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Has `give_back` called, on whichever shard's thread, when connections were closed to free
/// memory: it gives what is free back to the system, and takes a few milliseconds at most.
/// Only the first call counts.
///
/// ```
/// tapecast::base::shortage::on_shortage(|| { /* malloc_trim(0), mi_collect(true), … */ });
/// tapecast::base::shortage::give_back();
/// ```
pub fn on_shortage(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Gives free memory back to the system, if the program has said how.
pub fn give_back() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}
