// `lockstep completion`: a script for a shell, made from the commands, options and choices that the parser
// knows. Where an option or an argument has no choices, the shell completes names of files.
import type { Command, Option } from 'commander';

/** Shells that a script can be printed for. */
export type Shell = 'bash' | 'zsh' | 'fish';

/** A command with all that may follow it. */
interface CommandWords {
  /** The command as it is typed after the program: `bench step`; empty for the program itself. */
  readonly path: string;
  readonly subcommands: readonly Described[];
  readonly options: readonly OptionWords[];
  readonly argumentChoices: readonly string[];
}

interface Described {
  readonly name: string;
  readonly description: string;
}

interface OptionWords extends Described {
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** The script of a shell for a program. */
export function completionScript(program: Command, shell: Shell): string {
  const commands = listCommands(program, '');
  if (shell === 'fish') return fishScript(commands);
  return shell === 'zsh' ? zshScript(commands) : bashScript(commands);
}

function listCommands(command: Command, path: string): CommandWords[] {
  const help = command.createHelp();
  const subcommands = help.visibleCommands(command);
  const here: CommandWords = {
    path,
    subcommands: subcommands.map((sub) => ({ name: sub.name(), description: sub.description() })),
    options: help.visibleOptions(command).flatMap(wordsOf),
    argumentChoices: command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
  };
  const known = subcommands.filter((sub) => sub.name() !== 'help');
  return [here, ...known.flatMap((sub) => listCommands(sub, `${path} ${sub.name()}`.trim()))];
}

function wordsOf({ argChoices = [], description, long, optional, required }: Option): OptionWords[] {
  if (long === undefined || long === null) return [];
  return [{ name: long, description, takesValue: required || optional, choices: argChoices }];
}

/** The function that bash calls: it finds the command among the words, then what may follow it. */
function bashScript(commands: readonly CommandWords[]): string {
  const paths = commands.map(({ path }) => path).filter((path) => path !== '');
  const values = commands.flatMap(({ path, options }) =>
    options.flatMap(({ choices, name, takesValue }) =>
      takesValue ? [`    '${path} ${name}') words='${choices.join(' ')}'; isValue=1 ;;`] : [],
    ),
  );
  const nexts = commands.map(({ argumentChoices, options, path, subcommands }) => {
    const plain = [...subcommands.map(({ name }) => name), ...argumentChoices].join(' ');
    const flags = options.map(({ name }) => name).join(' ');
    return `      '${path}') words='${plain}'; flags='${flags}' ;;`;
  });
  return `# Completion of lockstep for bash: source <(lockstep completion bash)
_lockstep() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local command='' words='' flags='' isValue='' word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${command:+$command }\${COMP_WORDS[i]}"
    case "$word" in
      ${paths.map((path) => `'${path}'`).join('|')}) command=$word ;;
    esac
  done
  case "$command $previous" in
${values.join('\n')}
  esac
  if [[ -z $isValue ]]; then
    case "$command" in
${nexts.join('\n')}
    esac
    [[ $current == -* ]] && words=$flags
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -o bashdefault -F _lockstep lockstep
`;
}

/** zsh runs scripts of bash by a module of its own. */
function zshScript(commands: readonly CommandWords[]): string {
  return `#compdef lockstep
# Completion of lockstep for zsh: source <(lockstep completion zsh), after compinit
autoload -U +X bashcompinit && bashcompinit
${bashScript(commands).replace(/^#.*\n/, '')}`;
}

function fishScript(commands: readonly CommandWords[]): string {
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = commands.flatMap(({ argumentChoices, options, path, subcommands }) => {
    const names = path.split(' ').filter(Boolean);
    const seen = names.map((name) => `__fish_seen_subcommand_from ${name}`);
    const notYet = `not __fish_seen_subcommand_from ${subcommands.map(({ name }) => name).join(' ')}`;
    const isHere = subcommands.length > 0 ? [...seen, notYet] : seen;
    const condition = isHere.length > 0 ? ` -n ${quote(isHere.join('; and '))}` : '';
    return [
      ...subcommands.map(
        ({ description, name }) => `complete -c lockstep${condition} -f -a ${name} -d ${quote(description)}`,
      ),
      ...argumentChoices.map((choice) => `complete -c lockstep${condition} -f -a ${quote(choice)}`),
      ...options.map(({ choices, description, name, takesValue }) => {
        const value = choices.length > 0 ? ` -x -a ${quote(choices.join(' '))}` : takesValue ? ' -r' : '';
        return `complete -c lockstep${condition} -l ${name.slice(2)}${value} -d ${quote(description)}`;
      }),
    ];
  });
  return `# Completion of lockstep for fish: lockstep completion fish | source\n${lines.join('\n')}\n`;
}
