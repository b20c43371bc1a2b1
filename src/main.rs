//! The `tapecast` program.

/// Small allocations of connections and sessions are what an idle connection
/// costs: mimalloc keeps them dense. Without huge pages, which would make resident
/// memory grow in steps of two megabytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(unsafe_code)]
mod allocator {
    // SAFETY: that is its declaration in `mimalloc.h`. Any thread may call it at any time: it
    // touches nothing that is in use.
    unsafe extern "C" {
        safe fn mi_collect(force: bool);
    }

    /// Gives memory that has been free for a second back to the system. The allocator itself
    /// does so only when a thread frees more, and after a burst none may.
    pub fn give_back() {
        mi_collect(false);
    }

    /// The same at once, with all that is free.
    pub fn give_back_now() {
        mi_collect(true);
    }
}

fn main() -> std::process::ExitCode {
    tapecast::base::shortage::on_shortage(allocator::give_back_now);
    tapecast::cli::main(allocator::give_back)
}
