//! The command line of `wardroom`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use wardroom::app::App;
use wardroom::config::Config;
use wardroom::{archive, demo, doctor, http, lifecycle, seed, telemetry};

/// Quicker than the system's at the highest rates, and it gives the memory of a burst back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time consultation and status hub for telemedicine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A settings file in TOML; the environment overrides it. Without it `wardroom.toml` is read if it is there.
    #[arg(long, global = true, env = "WARDROOM_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves with demo people, and prints a link for each that signs them in. On loopback only.
    Demo,
    /// Serves.
    Serve,
    /// Checks an exported record, or with --database every room of the configured database.
    Verify {
        /// The exported file.
        #[arg(required_unless_present = "database", conflicts_with = "database")]
        file: Option<PathBuf>,
        /// Check the configured database instead of a file.
        #[arg(long)]
        database: bool,
    },
    /// Checks the settings, and whether everything they name answers; says for each what to do.
    Doctor,
    /// Makes the account of an administrator, and prints its password once.
    Admin {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: String,
    },
    /// Prints the OpenAPI document.
    Openapi,
    /// Prints the AsyncAPI document.
    Asyncapi,
    /// Fills a throwaway database with running consultations and writes who takes part, with tokens, for `loadtest`.
    Seed {
        #[arg(long, default_value_t = 100)]
        rooms: u32,
        /// Where to write the fixture.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("wardroom: {error:#}");
    ExitCode::FAILURE
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let load = |demo| Config::load(arguments.config.as_deref(), demo).context("the configuration is not usable");
    match arguments.command {
        Command::Demo => serve(load(true)?).await?,
        Command::Serve => serve(load(false)?).await?,
        Command::Verify { file: Some(file), .. } => return archive::command::file(&file),
        Command::Verify { file: None, .. } => return archive::command::database(&load(false)?.database).await,
        Command::Doctor => return Ok(doctor::run(&load(false)?).await),
        Command::Admin { email, name } => {
            let password = App::build(load(false)?).await?.state.auth.create_admin(&email, &name).await?;
            println!("{password}");
        }
        Command::Openapi => println!("{}", http::openapi::document_text()),
        Command::Asyncapi => println!("{}", http::asyncapi::document_text()),
        Command::Seed { rooms, out } => seed::run(load(false)?, rooms, &out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::start(&config);
    telemetry::metrics::install();
    let address = config.listen;
    let listener = lifecycle::listen(address)
        .with_context(|| format!("cannot listen on {address}: choose another address with WARDROOM_LISTEN"))?;
    let bound = listener.local_addr()?;
    let is_demo = config.demo;
    let app = App::build(config).await?;
    if is_demo {
        demo::prepare(&app.state).await.context("cannot make the demo clinic")?;
        println!("{}", demo::welcome(&app.state, bound));
    } else {
        println!("Wardroom serves on http://{bound}/");
    }
    let stop = app.stop_token();
    tokio::spawn(async move {
        lifecycle::stop_signal().await;
        stop.cancel();
    });
    // On a worker, in turn with everything else: the main thread would take a share of the processor for newcomers alone.
    tokio::spawn(app.run(listener)).await.context("the hub ended by a mistake of its own")
}
