//! CHAP (12.1.3): who may log in, and to whom the target proves itself.

use iesp_iscsi::chap::Algorithm;
use iesp_iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use iesp_iscsi::text::{Hex, Pairs, binary};
use tempfile::TempDir;

use crate::support::initiator::{Answer, INITIATOR, text};
use crate::support::process::{folder, image};
use crate::support::{Client, Iesp};

const SECRET: &str = "the secret of the host";
const OWN_SECRET: &str = "the secret of the disk";

fn server(mutual: bool) -> (Iesp, TempDir) {
    let folder = folder();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a plain path").to_owned()
    };
    let (secret, own) = (path("secret", &format!("{SECRET}\n")), path("own", OWN_SECRET));
    let disk = image(folder.path(), "disk", 1 << 20);
    let mut args = vec!["-d", &disk, "--chap-user", "host", "--chap-secret-file", &secret];
    if mutual {
        args.extend(["--mutual-user", "disk", "--mutual-secret-file", &own]);
    }
    (Iesp::start(&args), folder)
}

/// A request in the security stage that wants to go on to full feature phase.
fn ask(client: &mut Client, pairs: &str) -> (LoginResponse, String) {
    let unit = client.initiator.login(Stage::SecurityNegotiation, Stage::FullFeaturePhase, pairs);
    client.send(&unit);
    match client.answer() {
        Answer::Login(response, text) => (response, text),
        other => panic!("{other:?}"),
    }
}

const NORMAL: &str = "TargetName=test SessionType=Normal";
const DISCOVERY: &str = "SessionType=Discovery";

/// Logs in with this name, secret and further keys; the last response and its text.
fn chap(
    client: &mut Client,
    kind: &str,
    algorithm: Algorithm,
    name: &str,
    secret: &str,
    more: &str,
) -> (LoginResponse, String) {
    let (response, answer) = ask(client, &format!("InitiatorName={INITIATOR} {kind} AuthMethod=CHAP"));
    assert_eq!((response.status, response.transit), (LoginStatus::Success, false));
    assert!(answer.contains("AuthMethod=CHAP"), "{answer}");
    let (_, answer) = ask(client, &format!("CHAP_A={}", algorithm as u8));
    let bytes = text(&answer);
    let keys = Pairs::new(&bytes);
    assert_eq!(keys.find("CHAP_A"), Some(&*(algorithm as u8).to_string()));
    let identifier = keys.find("CHAP_I").and_then(|value| value.parse().ok()).expect("CHAP_I");
    let mut room = [0; 1024];
    let challenge = binary(keys.find("CHAP_C").expect("CHAP_C"), &mut room).expect("a binary value");
    let proof = algorithm.response(identifier, secret.as_bytes(), challenge);
    ask(client, &format!("CHAP_N={name} CHAP_R={} {more}", Hex(proof.bytes())))
}

#[test]
fn the_right_secret_by_each_algorithm() {
    let (server, _folder) = server(false);
    for algorithm in Algorithm::ALL {
        let mut client = Client::connect(server.address());
        let (response, _) = chap(&mut client, NORMAL, algorithm, "host", SECRET, "");
        assert_eq!((response.status, response.transit), (LoginStatus::Success, true));
        assert_ne!(response.tsih, 0);
        assert_eq!(client.run(&[0]).code(), (6, 0x29, 0));
        client.run(&[0]).good();
    }
}

#[test]
fn a_wrong_secret_or_name() {
    let (server, _folder) = server(false);
    for kind in [NORMAL, DISCOVERY] {
        for (name, secret) in [("host", "wrong"), ("host", ""), ("nobody", SECRET), ("", SECRET), ("disk", OWN_SECRET)]
        {
            let mut client = Client::connect(server.address());
            let (response, _) = chap(&mut client, kind, Algorithm::Sha256, name, secret, "");
            assert_eq!(response.status, LoginStatus::AuthenticationFailure, "{name} {secret}");
            assert_eq!(client.answer_or_end(), None);
        }
    }
}

/// Nor without: by another stage, by another method, by going on regardless.
#[test]
fn no_credentials() {
    let (server, _folder) = server(false);
    for kind in [NORMAL, DISCOVERY] {
        let mut client = Client::connect(server.address());
        let (response, _) = client.log_in_with(&format!("InitiatorName={INITIATOR} {kind}"));
        assert_eq!(response.status, LoginStatus::AuthenticationFailure);
        for method in ["AuthMethod=None", "AuthMethod=None,KRB5"] {
            let mut client = Client::connect(server.address());
            let (response, answer) = ask(&mut client, &format!("InitiatorName={INITIATOR} {kind} {method}"));
            assert!(response.status == LoginStatus::AuthenticationFailure || answer.contains("Reject"), "{answer}");
            assert!(!response.transit);
        }
        // Without a word of it, again and again.
        let mut client = Client::connect(server.address());
        let mut response = ask(&mut client, &format!("InitiatorName={INITIATOR} {kind}")).0;
        for _ in 0..5 {
            assert!(!response.transit, "{response:?}");
            if response.status != LoginStatus::Success {
                break;
            }
            response = ask(&mut client, "").0;
        }
    }
}

/// Which sessions there are is told to those alone that have proved who they are.
#[test]
fn the_first_status_does_not_tell_which_sessions_there_are() {
    let (server, _folder) = server(false);
    let mut client = Client::connect(server.address());
    let (response, _) = chap(&mut client, NORMAL, Algorithm::Md5, "host", SECRET, "");
    assert_eq!((response.status, response.transit), (LoginStatus::Success, true));
    let statuses = [response.tsih, response.tsih.wrapping_add(1)].map(|tsih| {
        let mut stranger = Client::connect(server.address());
        let request = LoginRequest {
            tsih,
            ..stranger.initiator.login_request(Stage::SecurityNegotiation, Stage::FullFeaturePhase)
        };
        let pairs = format!("InitiatorName={INITIATOR} {NORMAL} AuthMethod=CHAP");
        let unit = stranger.initiator.unit(&request.emit(), &text(&pairs));
        stranger.send(&unit);
        match stranger.answer() {
            Answer::Login(response, _) => response.status,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(statuses[0], statuses[1]);
}

#[test]
fn discovery_with_chap() {
    let (server, _folder) = server(false);
    let mut client = Client::connect(server.address());
    let (response, _) = chap(&mut client, DISCOVERY, Algorithm::Md5, "host", SECRET, "");
    assert_eq!((response.status, response.transit), (LoginStatus::Success, true));
    let request = client.initiator.text_request();
    let unit = client.initiator.unit(&request.emit(), &text("SendTargets=All"));
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Text(_, text) if text.contains("TargetName=test")));
}

/// The target proves itself, where it can; where it cannot, an initiator that asks is refused.
#[test]
fn mutual_authentication() {
    let challenge = [0x5a; 24];
    let more = format!("CHAP_I=77 CHAP_C={}", Hex(&challenge));
    for algorithm in Algorithm::ALL {
        let (server, _folder) = server(true);
        let mut client = Client::connect(server.address());
        let (response, answer) = chap(&mut client, NORMAL, algorithm, "host", SECRET, &more);
        assert_eq!((response.status, response.transit), (LoginStatus::Success, true));
        let proof = algorithm.response(77, OWN_SECRET.as_bytes(), &challenge);
        assert!(answer.contains("CHAP_N=disk"), "{answer}");
        assert!(answer.contains(&format!("CHAP_R={}", Hex(proof.bytes()))), "{answer}");
    }
    let (server, _folder) = server(false);
    let mut client = Client::connect(server.address());
    let (response, _) = chap(&mut client, NORMAL, Algorithm::Md5, "host", SECRET, &more);
    assert_eq!(response.status, LoginStatus::AuthenticationFailure);
    // With the wrong secret nothing is proved to it.
    let (server, _folder) = self::server(true);
    let mut client = Client::connect(server.address());
    let (response, answer) = chap(&mut client, NORMAL, Algorithm::Md5, "host", "wrong", &more);
    assert_eq!((response.status, &*answer), (LoginStatus::AuthenticationFailure, ""));
}

/// Secrets are told nobody: not in the log, however much it says.
#[test]
fn secrets_are_not_logged() {
    let folder = folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("written");
    let secret = secret.to_str().expect("a plain path");
    let mut server = Iesp::start(&[
        "-b",
        "ram",
        "-d",
        "1M",
        "-L",
        "debug,debug",
        "--chap-user",
        "host",
        "--chap-secret-file",
        secret,
    ]);
    for password in [SECRET, "wrong"] {
        let mut client = Client::connect(server.address());
        chap(&mut client, NORMAL, Algorithm::Md5, "host", password, "");
    }
    server.stop();
    let log = server.errors();
    assert!(!log.contains('\x1b'), "no colours where there is no terminal: {log}");
    assert!(!log.is_empty() && !log.contains(SECRET) && !log.contains("CHAP_R"), "{log}");
}
