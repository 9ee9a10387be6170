// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what is in the braces is for the shell
/**
 * `completion bash|zsh`: a script for the shell, made from the tree of commands, so that it knows what this version knows.
 * Peers are asked of the running sbot at the moment of the Tab, by the hidden command `__complete`, which gives up soon and
 * never says a word of its own.
 */
import { Argument, type Command, type Option } from 'commander'

import type { PeerView } from '../../core/selectors'
import type { FeedId } from '../../core/types'
import type { Cli, Register, RemoteSbot } from '../cli'
import { listPeers, namesOf } from '../targets'

const SHELLS = ['bash', 'zsh']
const HIDDEN = '__complete'
/** Longer than this nobody waits for a Tab. */
const QUICK_S = 1
/** More than anybody looks through. */
const MAX_SHOWN = 200

export const registerCompletion: Register = (program, run) => {
  program
    .command('completion')
    .description('a script that lets the shell complete commands, options and peers')
    .addArgument(new Argument('<shell>', 'bash or zsh').choices(SHELLS))
    .addHelpText(
      'after',
      "\nExamples:\n  echo 'source <(sbot-connections completion bash)' >> ~/.bashrc\n  echo 'source <(sbot-connections completion zsh)' >> ~/.zshrc",
    )
    .action(
      run(async (cli, [shell]) => {
        const script = shell === 'zsh' ? zshScript(program) : bashScript(program)
        for (const line of script.split('\n')) cli.out.line(line)
        return 0
      }),
    )
  program
    .command(HIDDEN, { hidden: true })
    .argument('<kind>')
    .argument('[beginning]')
    .action(
      run(async (cli, [kind, beginning = '']) => {
        // A shell shows whatever is said here in the middle of the line that is being typed.
        if (kind === 'peer') await cli.withSbot((sbot) => offerPeers(cli, sbot, beginning)).catch(() => {})
        return 0
      }),
    )
}

/** What a shell would read as more than a word, or the command as an option, is named by its id. */
const WORD = /^[\p{L}\p{N}][\p{L}\p{N}_.-]*$/u

/** Names and ids. */
export function offersOf(peers: readonly PeerView[], names: ReadonlyMap<FeedId, string>): readonly string[] {
  return peers.flatMap(({ id }) => {
    const name = names.get(id)
    return name !== undefined && WORD.test(name) ? [name, id] : [id]
  })
}

async function offerPeers(cli: Cli, sbot: RemoteSbot, beginning: string): Promise<void> {
  const peers = await listPeers(sbot)
  const names = await namesOf(sbot)
  const isUp = (status: string): number => Number(status !== 'idle')
  const sorted = [...peers].sort((a, b) => isUp(b.connection.status) - isUp(a.connection.status))
  for (const offer of offersOf(sorted, names)
    .filter((each) => each.startsWith(beginning))
    .slice(0, MAX_SHOWN))
    cli.out.line(offer)
}

// ---- what there is to complete ------------------------------------------------------------------------------------------

interface Spec {
  readonly name: string
  readonly description: string
  /** `--long` and `-s`. */
  readonly options: readonly string[]
  /** Options that take a value, with what that may be: a list of words, or a kind. */
  readonly values: readonly { readonly flags: readonly string[]; readonly kind: string }[]
  /** Of each argument in turn; the last of a variadic one goes on. */
  readonly args: readonly string[]
  readonly isVariadic: boolean
}

/** `words:a b c`, `peer`, `file`, `folder`, `command`, or `none`. */
function kindOf(given: { readonly name: string; readonly choices: readonly string[] | undefined }): string {
  if (given.choices && given.choices.length > 0) return `words:${given.choices.join(' ')}`
  const name = given.name.toLowerCase()
  if (name === 'command') return 'command'
  if (/peer|target|feed|^id$/.test(name)) return 'peer'
  if (/folder|dir|path/.test(name)) return 'folder'
  return /file/.test(name) ? 'file' : 'none'
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag): flag is string => typeof flag === 'string')
}

function valueName(option: Option): string {
  return /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? ''
}

function specOf(command: Command): Spec {
  const options = command.options.filter((option) => !option.hidden)
  const last = command.registeredArguments[command.registeredArguments.length - 1]
  return {
    name: command.name(),
    description: command.description(),
    options: options.flatMap(flagsOf),
    values: options
      .filter((option) => option.required || option.optional)
      .map((option) => ({
        flags: flagsOf(option),
        kind: kindOf({ name: valueName(option), choices: option.argChoices }),
      })),
    args: command.registeredArguments.map((argument) =>
      kindOf({ name: argument.name(), choices: argument.argChoices }),
    ),
    isVariadic: last?.variadic === true,
  }
}

function specsOf(program: Command): { readonly root: Spec; readonly commands: readonly Spec[] } {
  const shown = program.createHelp().visibleCommands(program)
  return { root: specOf(program), commands: shown.map(specOf) }
}

// ---- scripts ------------------------------------------------------------------------------------------------------------

const quote = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`

/** `--a|-a) kind='…' ;;` for each option that takes a value. */
function valueCases(spec: Spec, indent: string): string[] {
  return spec.values.map(({ flags, kind }) => `${indent}${flags.join('|')}) kind=${quote(kind)} ;;`)
}

/** The same for both shells: which kind of word belongs at the cursor. Sets `kind`, `command`, `globals`. */
function findKind(program: Command): string[] {
  const { root, commands } = specsOf(program)
  const taking = [root, ...commands].flatMap(({ values }) => values.flatMap(({ flags }) => flags))
  const rootTaking = root.values.flatMap(({ flags }) => flags)
  return [
    '  # The words before the cursor: options with a value take the next one, the first other word is the command.',
    '  for word in "${before[@]}"; do',
    '    if [[ -n $option ]]; then',
    '      case $option in',
    `        ${rootTaking.join('|')}) globals+=("$option" "$word") ;;`,
    '      esac',
    "      option=''",
    '      continue',
    '    fi',
    '    case $word in',
    `      ${[...new Set(taking)].join('|')}) option=$word ;;`,
    `      ${rootTaking.map((flag) => `${flag}=*`).join('|')}) globals+=("$word") ;;`,
    '      -*) ;;',
    '      *) if [[ -z $command ]]; then command=$word; else position=$((position + 1)); fi ;;',
    '    esac',
    '  done',
    '  if [[ -n $option ]]; then',
    '    kind=none',
    '    case $option in',
    ...valueCases(root, '      '),
    '    esac',
    '    case $command in',
    ...commands
      .filter(({ values }) => values.length > 0)
      .flatMap((spec) => [
        `      ${spec.name})`,
        '        case $option in',
        ...valueCases(spec, '          '),
        '        esac ;;',
      ]),
    '    esac',
    '  elif [[ $current == -* ]]; then',
    `    kind=${quote(`words:${[...root.options, '-h', '--help'].join(' ')}`)}`,
    '    case $command in',
    ...commands
      .filter(({ options }) => options.length > 0)
      .map(({ name, options }) => `      ${name}) kind="$kind "${quote(options.join(' '))} ;;`),
    '    esac',
    '  elif [[ -z $command ]]; then',
    '    kind=command',
    '  else',
    '    kind=none',
    '    case $command/$position in',
    ...commands.flatMap(({ name, args, isVariadic }) =>
      args.map((kind, i) => {
        const isLast = i === args.length - 1
        return `      ${name}/${isLast && isVariadic ? '*' : i}) kind=${quote(kind)} ;;`
      }),
    ),
    '    esac',
    '  fi',
  ]
}

function bashScript(program: Command): string {
  const name = program.name()
  const { commands } = specsOf(program)
  return [
    `# bash completion of ${name}; made by: ${name} completion bash`,
    '_sbot_connections() {',
    "  local line current option='' command='' kind='' word position=0",
    '  local -a before globals',
    '  # Not COMP_WORDS: bash takes ids and addresses apart at @, : and =.',
    '  line=${COMP_LINE:0:COMP_POINT}',
    '  read -r -a before <<< "$line"',
    '  if [[ $line == *[[:space:]] ]]; then',
    "    current=''",
    '  else',
    '    current=${before[${#before[@]} - 1]}',
    "    unset 'before[${#before[@]} - 1]'",
    '  fi',
    '  before=("${before[@]:1}")',
    ...findKind(program),
    '  case $kind in',
    '    words:*) COMPREPLY=($(compgen -W "${kind#words:}" -- "$current")) ;;',
    `    command) COMPREPLY=($(compgen -W ${quote(commands.map((spec) => spec.name).join(' '))} -- "$current")) ;;`,
    '    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")) ;;',
    '    folder) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")) ;;',
    `    peer) COMPREPLY=($(command "\${SBOT_CONNECTIONS:-${name}}" "\${globals[@]}" --timeout ${QUICK_S} ${HIDDEN} peer "$current" 2>/dev/null </dev/null)) ;;`,
    '    *) COMPREPLY=() ;;',
    '  esac',
    '  # What bash has taken for the beginning of the word is not replaced.',
    '  local split=${current%"${current##*[:=]}"} i',
    '  if [[ -n $split ]]; then',
    '    for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$split"}; done',
    '  fi',
    '}',
    `complete -F _sbot_connections ${name}`,
  ].join('\n')
}

function zshScript(program: Command): string {
  const name = program.name()
  const { commands } = specsOf(program)
  return [
    `#compdef ${name}`,
    `# zsh completion of ${name}; made by: ${name} completion zsh`,
    '_sbot_connections() {',
    "  local current option='' command='' kind='' word",
    '  local -i position=0',
    '  local -a before globals found described',
    '  current=$PREFIX',
    '  before=("${(@Q)words[2,CURRENT-1]}")',
    '  (( CURRENT > 2 )) || before=()',
    ...findKind(program),
    '  case $kind in',
    '    words:*) found=(${=kind#words:}); compadd -- $found ;;',
    '    command)',
    '      described=(',
    ...commands.map((spec) => `        ${quote(`${spec.name}:${spec.description.replace(/:/g, '\\:')}`)}`),
    '      )',
    '      _describe command described ;;',
    '    file) _files ;;',
    '    folder) _files -/ ;;',
    `    peer) found=("\${(@f)$(command "\${SBOT_CONNECTIONS:-${name}}" "\${globals[@]}" --timeout ${QUICK_S} ${HIDDEN} peer "$current" 2>/dev/null </dev/null)}"); compadd -- $found ;;`,
    '  esac',
    '}',
    'if (( $+functions[compdef] )); then',
    `  compdef _sbot_connections ${name}`,
    'else',
    '  autoload -Uz compinit && compinit',
    `  compdef _sbot_connections ${name}`,
    'fi',
  ].join('\n')
}
