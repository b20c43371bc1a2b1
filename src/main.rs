//! The `tapecast` program.

/// Small allocations of connections and sessions are what an idle connection
/// costs: mimalloc keeps them dense. Without huge pages, which would make resident
/// memory grow in steps of two megabytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tapecast::cli::main()
}
