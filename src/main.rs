//! The command line of `wardroom`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use wardroom::app::App;
use wardroom::config::Config;
use wardroom::{archive, demo, doctor, http, lifecycle, seed, telemetry};

/// Faster than the system allocator at the highest rates, and it returns the memory of a burst to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time consultation and status hub for telemedicine
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Settings file in TOML [default: wardroom.toml, if present]. Environment variables override it
    #[arg(long, global = true, env = "WARDROOM_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the demo clinic on loopback and print a sign-in link for each demo person
    Demo,
    /// Run the hub
    Serve,
    /// Verify an exported record, or with --database every room of the configured database
    Verify {
        /// Exported record
        #[arg(required_unless_present = "database", conflicts_with = "database")]
        file: Option<PathBuf>,
        /// Verify the configured database instead of a file
        #[arg(long)]
        database: bool,
    },
    /// Check the settings and the services they name, and print a remedy for each problem
    Doctor,
    /// Create an administrator's account and print its password once
    Admin {
        /// E-mail address to sign in with
        #[arg(long)]
        email: String,
        /// Full name
        #[arg(long)]
        name: String,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Print the AsyncAPI document
    Asyncapi,
    /// Fill a throwaway database with running consultations for `loadtest`
    Seed {
        /// Rooms to create
        #[arg(long, default_value_t = 100)]
        rooms: u32,
        /// File for the fixture: the rooms, their members, and tokens
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
    let load = |demo| Config::load(arguments.config.as_deref(), demo).context("invalid configuration");
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
    telemetry::panics::install_hook();
    let address = config.listen;
    let listener = lifecycle::listen(address)
        .with_context(|| format!("cannot listen on {address}: choose another address with WARDROOM_LISTEN"))?;
    let bound = listener.local_addr()?;
    let is_demo = config.demo;
    let app = App::build(config).await?;
    if is_demo {
        demo::prepare(&app.state).await.context("cannot create the demo clinic")?;
        println!("{}", demo::welcome(&app.state, bound));
    } else {
        println!("Wardroom listens on http://{bound}/");
    }
    let stop = app.stop_token();
    tokio::spawn(async move {
        lifecycle::stop_signal().await;
        stop.cancel();
    });
    // Runs on a worker thread, scheduled like all other tasks. On the main thread, accepting connections would get a
    // share of the processor of its own.
    tokio::spawn(app.run(listener)).await.context("the hub stopped because of an internal error")
}
