//! Two network namespaces, joined by a cable.

use std::{env, process::Command};

use crate::{End, Failure};

/// The environment variable with the role of a process.
const ROLE: &str = "WS_REACTOR_BENCH_ROLE";

/// Address of the far side.
pub(crate) const FAR: &str = "10.213.0.2";

/// A namespace.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Near,
    Far,
}

impl Side {
    fn namespace(self) -> &'static str {
        match self {
            Side::Near => "ws-reactor-near",
            Side::Far => "ws-reactor-far",
        }
    }
}

/// The role of this process. `None` for the measuring process.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// The namespaces and their cable, removed on drop.
pub(crate) struct Link;

impl Link {
    pub(crate) fn new() -> Result<Self, Failure> {
        let (near, far) = (Side::Near.namespace(), Side::Far.namespace());
        let link = Link;
        for side in [near, far] {
            run(&format!("ip netns add {side}"))?;
        }
        run(&format!("ip link add near0 netns {near} type veth peer name far0 netns {far}"))?;
        for (side, interface, address) in [(near, "near0", "10.213.0.1"), (far, "far0", FAR)] {
            run(&format!("ip -n {side} address add {address}/30 dev {interface}"))?;
            run(&format!("ip -n {side} link set {interface} up"))?;
            run(&format!("ip -n {side} link set lo up"))?;
        }
        Ok(link)
    }

    /// Limits what the far side sends. Packets of a higher priority leave first.
    #[allow(clippy::unused_self)]
    pub(crate) fn limit_rate(&self, rate: Option<&str>) -> Result<(), Failure> {
        let far = Side::Far.namespace();
        let Some(rate) = rate else { return run(&format!("tc -n {far} qdisc delete dev far0 root")) };
        run(&format!("tc -n {far} qdisc add dev far0 root handle 1: tbf rate {rate} burst 16kb limit 256kb"))?;
        run(&format!("tc -n {far} qdisc add dev far0 parent 1:1 handle 10: pfifo_fast"))
    }

    /// Takes the far side off the cable, or puts it back.
    #[allow(clippy::unused_self)]
    pub(crate) fn cut(&self, is_cut: bool) -> Result<(), Failure> {
        let state = if is_cut { "down" } else { "up" };
        run(&format!("ip -n {} link set far0 {state}", Side::Far.namespace()))
    }

    /// Starts this program in a role.
    #[allow(clippy::unused_self)]
    pub(crate) fn start(&self, side: Side, role: &str) -> Result<End, Failure> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", side.namespace(), "taskset", "-c"]);
        command.arg(if matches!(side, Side::Near) { "0" } else { "1" }).arg(env::current_exe()?).env(ROLE, role);
        End::new(command)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for side in [Side::Near, Side::Far] {
            if let Err(error) = run(&format!("ip netns delete {}", side.namespace())) {
                eprintln!("{error}");
            }
        }
    }
}

fn run(line: &str) -> Result<(), Failure> {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap_or_default()).args(words).status()?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}; root, ip and tc are needed").into()) }
}
