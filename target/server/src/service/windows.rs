//! Windows' service manager: installing, being run, and its words.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use clap::{CommandFactory, FromArgMatches};
use windows_service::service::{
    Service, ServiceAccess, ServiceControl, ServiceControlAccept, ServiceErrorControl, ServiceExitCode, ServiceInfo,
    ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_SERVICE_DATABASE_LOCKED};

use crate::cli::Cli;
use crate::config::{Config, Given};
use crate::failure::Failure;
use crate::system;

/// What it is called.
const NAME: &str = "iesp";

/// How long it may take to begin or to end; a slow disk may have minutes of flushing.
const LIMIT: Duration = Duration::from_secs(600);

/// How long the manager's database may be locked, as it is while the machine starts.
const UNLOCK_LIMIT: Duration = Duration::from_secs(60);

/// What this process was started with, after `service run`.
static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Where the manager is told; there is none where the manager did not start this process.
static STATUS: Mutex<Option<ServiceStatusHandle>> = Mutex::new(None);

/// Installs the service to serve what the arguments say, at every start of the machine, and starts it.
///
/// # Errors
/// Where the arguments are wrong, or this user may not install services.
pub fn install(arguments: &[OsString]) -> Result<(), Failure> {
    // What is wrong is better told now than when nobody sees it.
    let (cli, given) = parse(arguments)?;
    if cli.command.is_some() || cli.daemon {
        return Err(Failure::usage(
            "a service takes flags that say what to serve, as in: iesp service install -- --config C:\\iesp.toml",
        ));
    }
    Config::load(&cli, &given)?;
    let program = std::env::current_exe().map_err(|error| Failure::runtime(format!("this program's file: {error}")))?;
    let launch = ["service", "run", "--"].into_iter().map(OsString::from).chain(arguments.iter().cloned());
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: "iESP, an iSCSI target".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: launch.collect(),
        dependencies: vec![],
        account_name: None,
        account_password: None,
    };
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let access =
        ServiceAccess::CHANGE_CONFIG | ServiceAccess::START | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE;
    let service = manager.create_service(&info, access).map_err(|error| failed("be installed", &error))?;
    // It is for people to read; without it the service is the same.
    let _ = service.set_description("Serves disk images on the network as iSCSI disks.");
    if let Err(failure) = start(&service) {
        // Not half of it: then it can be installed again.
        let _ = service.delete();
        return Err(failure);
    }
    println!("The service {NAME} is installed, and serves. `iesp service uninstall` takes it away.");
    Ok(())
}

/// Starts it, and waits until it serves.
fn start(service: &Service) -> Result<(), Failure> {
    let deadline = Instant::now() + UNLOCK_LIMIT;
    loop {
        match service.start(&[] as &[&OsStr]) {
            Err(error) if is(&error, ERROR_SERVICE_DATABASE_LOCKED) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(200));
            }
            result => break result.map_err(|error| failed("be started", &error))?,
        }
    }
    wait(service, ServiceState::Running)
}

/// Stops the service and takes it away.
///
/// # Errors
/// Where there is none, or this user may not.
pub fn uninstall() -> Result<(), Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = manager.open_service(NAME, access).map_err(|error| failed("be opened", &error))?;
    let status = service.query_status().map_err(|error| failed("be asked", &error))?;
    if status.current_state != ServiceState::Stopped {
        service.stop().map_err(|error| failed("be stopped", &error))?;
        wait(&service, ServiceState::Stopped)?;
    }
    service.delete().map_err(|error| failed("be deleted", &error))?;
    println!("The service {NAME} is stopped and taken away.");
    Ok(())
}

/// What the service manager starts.
///
/// # Errors
/// Where somebody else starts it.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    // There is one call.
    let _ = ARGUMENTS.set(arguments.to_vec());
    service_dispatcher::start(NAME, service_main).map_err(|_| {
        Failure::usage("`iesp service run` is the service manager's: serve with `iesp` alone, or install the service")
    })
}

define_windows_service!(service_main, serve);

fn serve(_: Vec<OsString>) {
    let handler = |control| match control {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        ServiceControl::Stop | ServiceControl::Shutdown => {
            system::ask_to_stop();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::ParamChange => {
            system::ask_to_reload();
            ServiceControlHandlerResult::NoError
        }
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(NAME, handler) else { return };
    *STATUS.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    tell(ServiceState::StartPending, 0);
    let arguments = ARGUMENTS.get().map_or(&[] as &[OsString], Vec::as_slice);
    let mut words = vec![OsString::from(NAME)];
    words.extend_from_slice(arguments);
    let code = crate::run_with(&words);
    tell(ServiceState::Stopped, code.into());
}

fn parse(arguments: &[OsString]) -> Result<(Cli, Given), Failure> {
    let words = std::iter::once(OsString::from(NAME)).chain(arguments.iter().cloned());
    let matches = Cli::command().try_get_matches_from(words);
    let matches = matches.map_err(|error| Failure::usage(error.to_string()))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((cli, Given::new(matches)))
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access).map_err(|error| failed("be reached", &error))
}

fn failed(what: &str, error: &windows_service::Error) -> Failure {
    let reason = match error {
        windows_service::Error::Winapi(error) => error.to_string(),
        error => error.to_string(),
    };
    let remedy = if is(error, ERROR_ACCESS_DENIED) { "; take `Run as administrator`" } else { "" };
    Failure::runtime(format!("the service {NAME} cannot {what}: {reason}{remedy}"))
}

/// Whether it is this error of the system's.
fn is(error: &windows_service::Error, code: u32) -> bool {
    matches!(error, windows_service::Error::Winapi(error) if error.raw_os_error() == Some(code.cast_signed()))
}

fn wait(service: &Service, wanted: ServiceState) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = service.query_status().map_err(|error| failed("be asked", &error))?;
        if status.current_state == wanted {
            return Ok(());
        }
        let ended = wanted == ServiceState::Running && status.current_state == ServiceState::Stopped;
        if ended || Instant::now() > deadline {
            let message = format!("the service {NAME} does not come to be {wanted:?}: {:?}", status.exit_code);
            return Err(Failure::runtime(message + "; a log file tells more: [log.file], or -l FILE -L info"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn tell(state: ServiceState, code: u32) {
    let pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    let accepted = match state {
        ServiceState::Running => {
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN | ServiceControlAccept::PARAM_CHANGE
        }
        _ => ServiceControlAccept::empty(),
    };
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepted,
        exit_code: if code == 0 { ServiceExitCode::NO_ERROR } else { ServiceExitCode::ServiceSpecific(code) },
        checkpoint: u32::from(pending),
        wait_hint: if pending { LIMIT } else { Duration::ZERO },
        process_id: None,
    };
    if let Some(handle) = *STATUS.lock().unwrap_or_else(PoisonError::into_inner)
        && let Err(error) = handle.set_service_status(status)
    {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// The manager passes no sockets.
#[expect(clippy::unnecessary_wraps, reason = "the names of all systems are the same")]
pub fn sockets() -> Result<Option<Vec<TcpListener>>, Failure> {
    Ok(None)
}

/// It serves.
pub fn ready(_status: &str) {
    tell(ServiceState::Running, 0);
}

/// It begins to stop.
pub fn stopping() {
    tell(ServiceState::StopPending, 0);
}

/// The manager has no watchdog.
pub fn watchdog() -> Option<Duration> {
    None
}

/// The manager has no watchdog.
pub fn alive() {}
