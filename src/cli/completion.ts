import type { Command, Option } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** A script that completes the commands, options and values of a program. */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program, [])
  return { bash, zsh, fish }[shell](places)
}

/** What may follow a path of commands. */
interface Place {
  /** Commands up to here; empty for the program itself. */
  readonly path: readonly string[]
  readonly commands: readonly Word[]
  readonly options: readonly Choice[]
  /** Whether its arguments are files. */
  readonly files: boolean
  /** Fixed values of its argument. */
  readonly values: readonly string[]
}

interface Word {
  readonly word: string
  readonly about: string
}

interface Choice {
  readonly words: readonly string[]
  readonly about: string
  /** What may follow: nothing, one of these values, a file, or anything. */
  readonly value: 'none' | 'file' | 'any' | readonly string[]
}

/** Names of values and arguments, in `<…>`, that are files or folders. */
const FILES = /<(?:[a-z]+=)?(?:file|folder|path|journal)\b|\[file\]/

function placesOf(command: Command, path: readonly string[]): readonly Place[] {
  const commands = command.commands.map((one) => ({ word: one.name(), about: one.description() }))
  const inherited = path.length > 1 ? (command.parent?.options ?? []) : []
  const place: Place = {
    path,
    commands,
    options: [
      ...[...command.options, ...inherited].map(choiceOf),
      { words: ['-h', '--help'], about: 'print this help', value: 'none' as const },
    ],
    files: command.registeredArguments.some((argument) => FILES.test(`<${argument.name()}>`)),
    values:
      command.name() === 'help' && path.length === 1
        ? ['settings', ...(command.parent?.commands ?? []).map((one) => one.name())]
        : command.name() === 'completion'
          ? SHELLS
          : [],
  }
  return [place, ...command.commands.flatMap((one) => placesOf(one, [...path, one.name()]))]
}

function choiceOf(option: Option): Choice {
  const words = [option.short, option.long].filter((word) => word !== undefined && word !== null)
  const value =
    option.argChoices !== undefined && option.argChoices.length > 0
      ? option.argChoices
      : FILES.test(option.flags)
        ? ('file' as const)
        : option.required || option.optional
          ? ('any' as const)
          : ('none' as const)
  return { words, about: option.description, value }
}

/** Cases of bash and zsh by path and option: what completes the option's value. */
function valueCases(places: readonly Place[], reply: (value: Exclude<Choice['value'], 'none'>) => string): string[] {
  return places.flatMap(({ path, options }) =>
    options.flatMap(({ words, value }) => {
      if (value === 'none') return []
      const pattern = words.map((word) => quoted(`${path.join(' ')}:${word}`)).join('|')
      return `    ${pattern}) ${reply(value)}; return ;;`
    }),
  )
}

// --- bash ---------------------------------------------------------------------------------------------------

function bash(places: readonly Place[]): string {
  const commands = places.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(' ')))
  const values = valueCases(places, (value) =>
    value === 'file'
      ? 'COMPREPLY=($(compgen -f -- "$cur"))'
      : value === 'any'
        ? 'COMPREPLY=()'
        : `COMPREPLY=($(compgen -W ${quoted(value.join(' '))} -- "$cur"))`,
  )
  const words = places.map((place) => {
    const options = place.options.flatMap((option) => option.words).join(' ')
    const next = [...place.commands.map(({ word }) => word), ...place.values].join(' ')
    const files = place.files ? ' files=1' : ''
    return `    ${quoted(place.path.join(' '))}) options=${quoted(options)} words=${quoted(next)}${files} ;;`
  })
  return `# bash completion of mkondo: mkondo completion bash
_mkondo() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} path= next options= words= files= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${path:+$path }\${COMP_WORDS[i]}"
    case "$next" in
    ${commands.join(' | ')}) path=$next ;;
    esac
  done
  case "$path:$prev" in
${values.join('\n')}
  esac
  case "$path" in
${words.join('\n')}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [[ -n $files ]]; then
    COMPREPLY=($(compgen -f -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}
complete -o filenames -F _mkondo mkondo
`
}

// --- zsh ----------------------------------------------------------------------------------------------------

function zsh(places: readonly Place[]): string {
  const commands = places.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(' ')))
  const values = valueCases(places, (value) =>
    value === 'file' ? '_files' : value === 'any' ? '_message value' : `compadd -- ${value.map(quoted).join(' ')}`,
  )
  const words = places.map((place) => {
    const described = (list: readonly Word[]): string =>
      list.map(({ word, about }) => quoted(`${word.replaceAll(':', '\\:')}:${about}`)).join(' ')
    const options = described(place.options.flatMap(({ words, about }) => words.map((word) => ({ word, about }))))
    const next = described([...place.commands, ...place.values.map((word) => ({ word, about: '' }))])
    return `    ${quoted(place.path.join(' '))}) options=(${options}); next=(${next})${place.files ? '; files=1' : ''} ;;`
  })
  return `#compdef mkondo
# zsh completion of mkondo: mkondo completion zsh
_mkondo() {
  local cur=\${words[CURRENT]} prev=\${words[CURRENT-1]} path_= try files= i
  local -a options next
  for ((i = 2; i < CURRENT; i++)); do
    try="\${path_:+$path_ }\${words[i]}"
    case "$try" in
    ${commands.join(' | ')}) path_=$try ;;
    esac
  done
  case "$path_:$prev" in
${values.join('\n')}
  esac
  case "$path_" in
${words.join('\n')}
  esac
  if [[ $cur == -* ]]; then
    _describe option options
  elif [[ -n $files ]]; then
    _files
  else
    _describe command next
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _mkondo "$@"
else
  compdef _mkondo mkondo
fi
`
}

// --- fish ---------------------------------------------------------------------------------------------------

function fish(places: readonly Place[]): string {
  const lines = places.flatMap((place) => {
    const { path, commands, options, values, files } = place
    const others = commands.map(({ word }) => word).join(' ')
    const here =
      path.length === 0
        ? '__fish_use_subcommand'
        : [
            ...path.map((word) => `__fish_seen_subcommand_from ${word}`),
            ...(others === '' ? [] : [`not __fish_seen_subcommand_from ${others}`]),
          ].join('; and ')
    const rule = `complete -c mkondo -n ${quoted(here)}`
    return [
      ...(files ? [`${rule} -F`] : []),
      ...commands.map(({ word, about }) => `${rule} -a ${word} -d ${quoted(about)}`),
      ...(values.length === 0 ? [] : [`${rule} -a ${quoted(values.join(' '))}`]),
      ...options.map(({ words, about, value }) => {
        const names = words.map((word) => (word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`))
        const follows =
          value === 'none'
            ? ''
            : value === 'file'
              ? ' -r -F'
              : value === 'any'
                ? ' -x'
                : ` -x -a ${quoted(value.join(' '))}`
        return `${rule} ${names.join(' ')}${follows} -d ${quoted(about)}`
      }),
    ]
  })
  return `# fish completion of mkondo: mkondo completion fish\ncomplete -c mkondo -f\n${lines.join('\n')}\n`
}

/** In single quotes, for all three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
