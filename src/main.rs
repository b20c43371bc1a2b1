//! The `tapecast` program.

/// Small allocations of connections and sessions are what an idle connection
/// costs: mimalloc keeps them dense.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tapecast::cli::main()
}
