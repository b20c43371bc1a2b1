//! The output of commands: text on the standard output, and an exit code.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// `EX_CONFIG` of sysexits: there is no io_uring, or the configuration is wrong.
pub const EXIT_CONFIG: u8 = 78;

/// Writes to the standard output.
///
/// # Errors
/// Its reader has gone, or there is no room for it.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints the output of a command. A reader that closes the pipe early is no failure.
pub fn finish(text: &str) -> ExitCode {
    match print(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(error);
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes a line to standard error, after the program's name.
pub fn complain(message: impl fmt::Display) {
    eprintln!("tapecast: {message}");
}
