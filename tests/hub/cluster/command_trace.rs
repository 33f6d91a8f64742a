//! One id traces a command over all nodes that it reaches.

use loadtest::client::{Answer, Client};
use loadtest::target::Target;
use rooms::role::Actor;

use crate::support::chat::chat_command;
use crate::support::hub_process::HubProcess;
use crate::support::test_cluster::{TestCluster, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn command_id_traces_a_command_from_frame_to_readers_on_another_node() {
    let nodes = TestCluster::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let case = nodes[0].case().await;
    let start = |name: &str| -> (HubProcess, std::path::PathBuf, std::net::SocketAddr) {
        let (mut process, file) = (nodes.process(), folder.path().join(name));
        process.set("WARDROOM_LOG_FILTER", "info,wardroom::trail=debug");
        process.set("WARDROOM_LOG_FORMAT", "json");
        process.log_to(file.clone());
        let address = process.start();
        (process, file, address)
    };
    let (here, there) = (start("here"), start("there"));
    let joined = async |address, who: &Actor| {
        let mut client = Client::new(Target::new(address).expect("loopback"), nodes[0].token(who));
        client.connect().await.unwrap();
        client.join(case.room).await.unwrap();
        client
    };
    let (mut patient, mut doctor) = (joined(here.2, &case.patient).await, joined(there.2, &case.doctor).await);
    let id = patient.send(case.room, chat_command("it itches at night"));
    let Answer::Done { last, .. } = patient.answer(id).await.unwrap() else { panic!("the command succeeds") };
    doctor.until_seq(case.room, last).await.unwrap();

    let trace_steps = |file: &std::path::Path| -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("itches") && !text.contains("Pat"), "the log holds neither message text nor names");
        let lines = text.lines().filter(|line| line.contains(&id.0.to_string()));
        let steps = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"));
        steps.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    };
    wait_until("here", async || trace_steps(&here.1) == ["received", "committed", "fanned out"]).await;
    wait_until("there", async || trace_steps(&there.1) == ["fanned out"]).await;
}
