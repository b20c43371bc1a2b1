//! Layer 9: the command line.
//!
//! | file | contents |
//! |---|---|
//! | `command` | the commands, and which code runs each |
//! | `settings` | the settings, and the origin of each value |
//! | `serve` | runs the server: sockets, the supervisor, the parts that a command adds |
//! | `reload` | gives a running server new settings |
//! | `logs` | log lines, written by a thread of their own |
//! | `demo` | a simulated market, and a page to look at it |
//! | `replay` | publishes the lines of a CSV file; `columns`, `lines` and `pace` read it |
//! | `doctor` | checks the machine |
//! | `supervisor` | notifications to systemd |
//! | `output` | the standard output, and exit codes |

mod command;
mod demo;
mod doctor;
mod logs;
mod output;
mod reload;
mod replay;
mod serve;
mod settings;
mod supervisor;

pub use command::main;
