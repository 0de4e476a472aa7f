//! auditchaind.

fn main() -> std::process::ExitCode {
    auditchain_service::main()
}
