import { SHELLS, completionScript, type Shell } from '../completion.js'
import { withExitCodes } from '../exit-codes.js'
import { oneOf } from '../options.js'
import type { Define } from './define.js'

export const defineCompletion: Define = (program, terminal) => {
  const command = program
    .command('completion')
    .description('print a script that completes commands and options in your shell')
    .argument('<shell>', SHELLS.join(', '), (value) => oneOf(SHELLS)(value, 'the shell'))
    .addHelpText(
      'after',
      `
  bash  mkondo completion bash > ~/.local/share/bash-completion/completions/mkondo
  zsh   mkondo completion zsh > ~/.zfunc/_mkondo, with ~/.zfunc in fpath before compinit
  fish  mkondo completion fish > ~/.config/fish/completions/mkondo.fish`,
    )
  withExitCodes(command, 'printed', null).action((shell: Shell) => {
    terminal.out(completionScript(program, shell))
  })
}
