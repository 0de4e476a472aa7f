//! auditchaind, for the tests: cargo tells a package's tests only of its own programs.

fn main() -> std::process::ExitCode {
    auditchain_service::main()
}
