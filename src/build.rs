//! Tells the program which commit it was built from.

use std::process::Command;

fn main() {
    // Given where there is no repository, as in the build of an image.
    // Its name must not begin like a setting: cargo run hands it on to the program.
    println!("cargo::rerun-if-env-changed=COMMIT_OF_TAPECAST");
    if std::env::var_os("COMMIT_OF_TAPECAST").is_some_and(|commit| !commit.is_empty()) {
        return;
    }
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let commit = commit.unwrap_or_else(|| "no commit known".to_owned());
    println!("cargo::rustc-env=COMMIT_OF_TAPECAST={commit}");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
}
