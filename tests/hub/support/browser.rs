//! Real browsers, driven through the pages as a person would drive them: by what is visible.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// Generous, because browsers, hub, and compiler share few cores.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(60);
const ARGUMENTS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    // A fake camera and microphone, so that no hardware is needed.
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // All windows of a test count as visible, so that Chromium does not throttle those in the background.
    "--disable-backgrounding-occluded-windows",
];

/// Console errors that a test causes by killing the hub, and therefore expects.
const EXPECTED_WHILE_HUB_IS_DOWN: [&str; 3] =
    ["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "WebSocket connection to"];

/// A chromedriver and the browsers it started. Dropping it ends them all.
pub struct Driver {
    child: Child,
    address: String,
}

impl Driver {
    pub fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("chromedriver is installed (tests/run installs it)");
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().expect("stdout is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let port = loop {
            let line = lines.recv_timeout(BROWSER_TIMEOUT).expect("chromedriver prints its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        Self { child, address: format!("http://127.0.0.1:{port}") }
    }

    /// Starts one person's browser; `size` is in CSS pixels.
    pub async fn browser(&self, (width, height): (u32, u32)) -> Browser {
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(|&it| it.to_owned()).collect();
        arguments.push(format!("--window-size={width},{height}"));
        // Chromium windows are at least 500 pixels wide, so narrower sizes need mobile emulation.
        let phone =
            (width < 500).then(|| json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0}}));
        let mut options = json!({"args": arguments});
        if let Some(phone) = phone {
            options["mobileEmulation"] = phone;
        }
        let capabilities_json = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            "unhandledPromptBehavior": "ignore",
        });
        let capabilities: Capabilities = capabilities_json.as_object().expect("a JSON object").clone();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.address)
            .await
            .expect("Chromium starts");
        let session = client.session_id().await.ok().flatten().expect("a session has an id");
        Browser { client, log: format!("{}/session/{session}/se/log", self.address) }
    }
}

impl Driver {
    /// Returns the address of a browser's DevTools port.
    pub async fn debugger(&self, browser: &Browser) -> String {
        let session = browser.client.session_id().await.ok().flatten().expect("a session has an id");
        let sessions = reqwest::get(format!("{}/sessions", self.address)).await.expect("chromedriver responds");
        let sessions: Value = sessions.json().await.expect("JSON");
        let all = sessions["value"].as_array().cloned().unwrap_or_default();
        let own = all.iter().find(|it| it["id"] == session.as_str()).expect("the session is listed");
        let address = &own["capabilities"]["goog:chromeOptions"]["debuggerAddress"];
        address.as_str().expect("a debugger address").to_owned()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browsers share chromedriver's process group.
        let _ = Command::new("kill").args(["-9", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

/// One person's browser.
pub struct Browser {
    pub client: Client,
    log: String,
}

impl Browser {
    pub async fn go(&self, url: &str) {
        self.client.goto(url).await.expect("the page loads");
    }

    /// Runs a function body in the page and returns its result.
    pub async fn run(&self, body: &str) -> Value {
        self.client.execute(body, vec![]).await.expect("the script runs")
    }

    /// Waits until a script returns something other than null, false, or undefined, and returns that value.
    pub async fn wait_until(&self, what: &str, body: &str) -> Value {
        let end = Instant::now() + BROWSER_TIMEOUT;
        loop {
            let value = self.client.execute(body, vec![]).await.unwrap_or(Value::Null);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if Instant::now() > end {
                let text = self.run("return document.body.innerText").await;
                let fields = self.run("return [...document.querySelectorAll('main input, main textarea')].map(it => [it.dataset.testid, it.type, it.checked, it.value])").await;
                let text = text.as_str().unwrap_or_default();
                panic!("timed out waiting for {what}\n{text}\n{fields}\n{:?}", self.console_log().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an element with this test id exists.
    pub async fn wait_for(&self, testid: &str) {
        self.css(&id(testid)).await;
    }

    pub async fn css(&self, css: &str) {
        self.wait_until(css, &format!("return !!document.querySelector({})", json!(css))).await;
    }

    /// Waits until no element matches the selector.
    pub async fn wait_until_gone(&self, css: &str) {
        self.wait_until(&format!("no {css}"), &format!("return !document.querySelector({})", json!(css))).await;
    }

    /// Waits until this part of the case shows this state.
    pub async fn wait_for_state(&self, part: &str, state: &str) {
        self.css(&format!("[data-testid=status-{part}][data-state={state}]")).await;
    }

    /// Waits until the page shows this text.
    pub async fn wait_for_text(&self, text: &str) {
        self.wait_until(text, &format!("return document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks an element once it is clickable.
    pub async fn click(&self, testid: &str) {
        self.click_css(&id(testid)).await;
    }

    pub async fn click_css(&self, css: &str) {
        self.act(css, async |element| element.click().await).await;
    }

    pub async fn write(&self, testid: &str, text: &str) {
        self.act(&id(testid), async |element| element.send_keys(text).await).await;
    }

    async fn act(
        &self,
        css: &str,
        what: impl AsyncFn(fantoccini::elements::Element) -> Result<(), fantoccini::error::CmdError>,
    ) {
        let end = Instant::now() + BROWSER_TIMEOUT;
        loop {
            self.css(css).await;
            // The page may re-render between the lookup and the action, or an overlay may cover the element; retry.
            let done = match self.client.find(Locator::Css(css)).await {
                Ok(element) => {
                    let to_middle = "arguments[0].scrollIntoView({block: 'center'})";
                    let argument = serde_json::to_value(&element).expect("an element serializes");
                    let _ = self.client.execute(to_middle, vec![argument]).await;
                    what(element).await
                }
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return,
                Err(error) if Instant::now() > end => panic!("{css}: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Sends keys to the focused element.
    pub async fn press(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("an element has the focus");
        focused.send_keys(keys).await.expect("the element accepts keys");
    }

    /// Returns the console entries since the last call.
    pub async fn console_log(&self) -> Vec<String> {
        let answer = crate::support::http().post(&self.log).json(&json!({"type": "browser"})).send().await;
        let Ok(answer) = answer else { return vec!["the console log cannot be read".to_owned()] };
        let value: Value = answer.json().await.unwrap_or_default();
        let entries = value["value"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Asserts that the console holds no error and no policy violation, other than those of a stopped hub.
    pub async fn assert_no_errors(&self) {
        let entries = self.console_log().await;
        let bad: Vec<_> =
            entries.iter().filter(|line| !EXPECTED_WHILE_HUB_IS_DOWN.iter().any(|down| line.contains(down))).collect();
        assert!(bad.is_empty(), "the console reports errors: {bad:#?}");
    }
}

pub fn id(testid: &str) -> String {
    format!("[data-testid={testid}]")
}
