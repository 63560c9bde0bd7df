//! Enabling, disabling, and what a server may say.

use axum::http::StatusCode;
use suture_protocol::{Problem, ProblemKind};
use suture_rollout::Offer;

use crate::status::{Coverage, PatchState};
use crate::testing::{Machine, Service, TOKEN, version};

#[tokio::test]
async fn a_wrong_token_enables_nothing() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let failure = machine.engine.enable("token-2").await.unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: the server refused the token: Unknown Auth-Token

    hint: copy the token anew from the service's page; it may have been revoked
    ");
    assert!(!machine.engine.is_enabled());
    let failure = machine.engine.refresh(false).await.unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: this machine is not enabled

    hint: enable it with the token of your account: `livepatch enable TOKEN`
    ");
}

#[tokio::test]
async fn a_full_plan_is_told_in_the_servers_words() {
    let service = Service::start().await;
    service.desk().enrol_problem = Some(Problem {
        kind: ProblemKind::MachineLimit,
        title: "No".to_owned(),
        status: 403,
        detail: "The plan `free` covers 3 machines, and 3 are enabled.".to_owned(),
    });
    let failure = Machine::new(&service)
        .engine
        .enable(TOKEN)
        .await
        .unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: the account has no room for this machine: The plan `free` covers 3 machines, and 3 are enabled.

    hint: release a machine with `livepatch disable`, or choose a plan with more
    ");
}

#[tokio::test]
async fn a_kernel_without_live_patching_is_not_enabled() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    std::fs::remove_dir(machine.tree.path("sys/kernel/livepatch")).unwrap();
    let machine = machine.restart_agent();
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with("unsupported kernel: `6.1.0-53-amd64`"),
        "{failure}"
    );
    assert!(!service.desk().enrolled);
    assert_eq!(
        machine.engine.report().await.unwrap().coverage,
        Coverage::NoLivepatch
    );
}

#[tokio::test]
async fn disabling_leaves_the_patch_and_forgets_the_secret() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    service.desk().broken = Some(StatusCode::SERVICE_UNAVAILABLE);
    let failure = machine.engine.disable().await.unwrap_err();
    assert!(
        failure
            .hint
            .unwrap()
            .starts_with("the machine is still enabled")
    );
    assert!(machine.engine.is_enabled());
    service.desk().broken = None;
    assert_eq!(
        machine.engine.disable().await.unwrap(),
        Some(version("104.1"))
    );
    assert!(!service.desk().enrolled);
    assert!(
        !machine
            .tree
            .path("var/lib/livepatch/machine-secret")
            .exists()
    );
    assert_eq!(
        machine.engine.disable().await.unwrap(),
        Some(version("104.1")),
        "again is fine"
    );
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.enrolment, None);
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
}

#[tokio::test]
async fn a_secret_goes_only_to_the_server_that_gave_it() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let before = service.desk().check_ins.len();
    let elsewhere = b"remote-server = \"https://elsewhere.example.com\"";
    machine
        .tree
        .write("etc/livepatch/config.d/90-local.toml", elsewhere);
    let refreshed = machine.engine.refresh(false).await.unwrap();
    let failure = refreshed.check.unwrap_err();
    assert!(
        failure
            .message
            .contains("but `remote-server` is `https://elsewhere.example.com/`")
    );
    assert_eq!(service.desk().check_ins.len(), before);
}

#[tokio::test]
async fn a_released_machine_is_told_to_enable_again() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    service.desk().enrolled = false;
    let failure = machine
        .engine
        .refresh(false)
        .await
        .unwrap()
        .check
        .unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: the server does not know this machine: It was released.

    hint: enable the machine again: `livepatch enable TOKEN`
    ");
    assert_eq!(
        machine.engine.report().await.unwrap().patch.in_force(),
        Some(version("104.1"))
    );
}

#[tokio::test]
async fn coverage_that_ends_is_told_apart_from_none() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.desk().offer = Offer::NotCovered;
    machine.engine.enable(TOKEN).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        (report.patch, report.coverage),
        (PatchState::NotCovered, Coverage::NotCovered)
    );
    service.desk().offer = Offer::UpToDate;
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        (report.patch, report.coverage),
        (PatchState::NothingToApply, Coverage::Covered)
    );
    service.desk().offer = Offer::NotCovered;
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        machine.engine.report().await.unwrap().coverage,
        Coverage::Ended
    );
}

#[tokio::test]
async fn a_certificate_of_an_own_authority_is_trusted_only_when_configured() {
    let (service, pem) = Service::start_tls().await;
    let machine = Machine::new(&service);
    let config = |ca: &str| {
        format!(
            "remote-server = \"https://localhost:{}\"\n{ca}",
            service.address.port()
        )
    };
    let file = "etc/livepatch/config.d/50-site.toml";
    machine.tree.write(file, config("").as_bytes());
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with("cannot reach `https://localhost"),
        "{failure}"
    );
    assert!(
        failure
            .hint
            .as_ref()
            .unwrap()
            .contains("livepatch config ca-certs="),
        "{failure}"
    );
    machine
        .tree
        .write(file, config(&format!("ca-certs = '''{pem}'''")).as_bytes());
    machine.engine.enable(TOKEN).await.unwrap();
    let path = machine.tree.path("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let by_path = format!("ca-certs = \"{}\"", path.display());
    machine.tree.write(file, config(&by_path).as_bytes());
    service.offer("104.1").await;
    assert_eq!(machine.engine.refresh(false).await.unwrap().patch, Ok(()));
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}
