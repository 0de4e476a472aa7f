//! auditchaind, whose file calls are recorded and fail as its environment says.

fn main() -> std::process::ExitCode {
    auditchain_test_disk::watch_as_environment_says();
    auditchain_service::main()
}
