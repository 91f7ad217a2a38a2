//! `completions` and `man`: what the command line can tell about itself to shells and readers.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Ui;

/// The name of the program.
const PROGRAM: &str = "secret-gate";

/// Prints what this shell sources.
pub(crate) fn completions(ui: &Ui, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // the generator spells a name with a dash in two ways, so that the options of subcommands would not be found
        script = script.replace("secret__subcmd__gate", "secret__gate");
    }
    ui.data(script.as_bytes())
}

/// Prints the page of the program, or of a subcommand, as `man` reads it.
pub(crate) fn page(ui: &Ui, of: Option<&str>) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let command = match of {
        None => program,
        Some(name) => {
            let known = program.find_subcommand(name).filter(|known| !known.is_hide_set());
            known.cloned().ok_or_else(|| {
                Failure::new(Exit::Usage, format!("there is no subcommand {name}"))
                    .with_hint("secret-gate --help lists them")
            })?
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .map_err(|error| Failure::new(Exit::Failed, format!("can't write the page: {error}")))?;
    ui.data(&text)
}
