import type { CompletionItem, SupportedShell } from '@pnpm/tabtab'
import type { Command } from 'commander'
import { withExitCodes } from '../exit-codes.js'
import { chosenArgument } from '../options.js'
import type { Define } from './define.js'

const SHELLS: readonly SupportedShell[] = ['bash', 'zsh', 'fish']

/** This script replaces tabtab's script for fish, which would run quoted text of the command line as commands. */
const FISH = `# fish completion of mkondo: mkondo completion fish
function _mkondo_completion
  set -l found (SHELL=fish mkondo completion-server -- (commandline -opc) (commandline -ct))
  if test "$found" = __tabtab_complete_files__
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c mkondo -f -a '(_mkondo_completion)'
`

export const defineCompletion: Define = (program, terminal) => {
  const command = program
    .command('completion')
    .description('print a script that completes commands and options in your shell')
    .addArgument(chosenArgument('<shell>', 'the shell', SHELLS))
    .addHelpText(
      'after',
      `
  bash  mkondo completion bash > ~/.local/share/bash-completion/completions/mkondo
  zsh   mkondo completion zsh > ~/.zfunc/_mkondo, with ~/.zfunc in fpath before compinit
  fish  mkondo completion fish > ~/.config/fish/completions/mkondo.fish

The script asks mkondo at each TAB, so it need not be made again after an upgrade.`,
    )
  withExitCodes(command, 'printed', null).action(async (shell: SupportedShell) => {
    const { getCompletionScript } = (await import('@pnpm/tabtab')).default
    terminal.out(shell === 'fish' ? FISH : await getCompletionScript({ name: 'mkondo', completer: 'mkondo', shell }))
  })
  program
    .command('completion-server', { hidden: true })
    .description('print the possible words at the cursor, for the scripts of mkondo completion')
    .argument('[words...]', 'the command line, after --')
    .action(async (words: readonly string[]) => {
      const { getShellFromEnv, log, logFiles } = (await import('@pnpm/tabtab')).default
      const shell = getShellFromEnv(terminal.env)
      const at = Number(terminal.env['COMP_CWORD'] ?? words.length - 1)
      const found = proposals(program, words.slice(1, at), words[at] ?? '')
      if (found !== 'files') log([...found], shell, (line) => terminal.out(`${line}\n`))
      // bash proposes files without help if a command gives no proposals.
      else if (shell !== 'bash') logFiles()
    })
}

/** Placeholders (`<…>`) of options and arguments whose values are files or folders. */
const FILES = /<(?:[a-z]+=)?(?:file|folder|path|journal)\b|\[file\]/

/** Proposals for the word at the cursor. @param before  the words between `mkondo` and the cursor */
function proposals(program: Command, before: readonly string[], word: string): readonly CompletionItem[] | 'files' {
  let command = program
  for (const name of before) command = command.commands.find((one) => one.name() === name) ?? command
  const help = command.createHelp()
  const options = [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)]
  const named = (names: readonly string[]): CompletionItem[] => names.map((name) => ({ name }))
  const option = options.find(({ short, long }) => [short, long].includes(before.at(-1) ?? ''))
  if (option !== undefined && (option.required || option.optional))
    return FILES.test(option.flags) ? 'files' : named(option.argChoices ?? [])
  if (word.startsWith('-'))
    return options.flatMap(({ short, long, description }) =>
      [short, long].flatMap((name) => (typeof name === 'string' ? [{ name, description }] : [])),
    )
  if (command.registeredArguments.some((argument) => FILES.test(`<${argument.name()}>`))) return 'files'
  const topics = help.visibleCommands(command.name() === 'help' ? program : command)
  return [
    ...topics.map((one) => ({ name: one.name(), description: one.description() })),
    ...named(
      command.name() === 'help' ? ['settings'] : command.registeredArguments.flatMap((one) => one.argChoices ?? []),
    ),
  ]
}
