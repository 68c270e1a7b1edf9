import { Command, CommanderError } from 'commander'
import { packageVersion } from '../config/package-root.js'
import { messageOf } from '../core/errors.js'
import { terminalText } from '../core/terminal-text.js'
import { defineBundle } from './commands/bundle.js'
import { defineCall } from './commands/call.js'
import { defineCallOut } from './commands/call-out.js'
import { defineCalls } from './commands/calls.js'
import { defineCheck } from './commands/check.js'
import { defineCompletion } from './commands/completion.js'
import type { Define } from './commands/define.js'
import { defineDemo } from './commands/demo.js'
import { defineDoctor } from './commands/doctor.js'
import { defineDouble } from './commands/double.js'
import { defineErase } from './commands/erase.js'
import { defineExport } from './commands/export.js'
import { defineFleet, defineTop } from './commands/fleet.js'
import { defineHelp } from './commands/help.js'
import { defineInit } from './commands/init.js'
import { defineCampaign, defineDoNotCall } from './commands/campaign.js'
import { defineMessages } from './commands/messages.js'
import { defineNumbers } from './commands/numbers.js'
import { defineReplay } from './commands/replay.js'
import { defineServe } from './commands/serve.js'
import { defineSimulate } from './commands/simulate.js'
import { defineSimulator } from './commands/simulator.js'
import { UsageError, exitCodeOf } from './exit-codes.js'
import { filledHelp, helpColumns } from './terminal.js'
import type { Terminal } from './terminal.js'

/** All commands by the heading under which help shows them. */
const COMMANDS: Readonly<Record<string, readonly Define[]>> = {
  'Start here:': [defineDemo, defineInit, defineCheck, defineServe],
  'Try an agent:': [defineCall, defineSimulate, defineReplay, defineSimulator, defineDouble],
  'Run it:': [
    defineDoctor,
    defineCalls,
    defineTop,
    defineFleet,
    defineNumbers,
    defineMessages,
    defineCallOut,
    defineCampaign,
    defineDoNotCall,
    defineBundle,
    defineExport,
    defineErase,
  ],
  'About mkondo:': [defineHelp, defineCompletion],
}

/** The command line of mkondo: every command with its options and help. @param ends  gets the exit code */
export function programOf(terminal: Terminal, ends: (code: number) => void): Command {
  const columns = helpColumns(terminal)
  const program = new Command('mkondo')
    .description('a media gateway for voice agents on phone calls')
    .version(packageVersion(), '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({
      // The options of the command above, such as those of `calls`; the program's own are in its own help.
      showGlobalOptions: true,
      visibleGlobalOptions: ({ parent }) => (parent === null || parent.parent === null ? [] : [...parent.options]),
    })
    // Errors are printed by `run`, in one line each.
    .configureOutput({
      writeOut: (text) => terminal.out(filledHelp(text, columns)),
      writeErr: () => undefined,
      getOutHelpWidth: () => columns,
      getErrHelpWidth: () => columns,
      getOutHasColors: () => terminal.colours,
    })
    .exitOverride()
    .addHelpText('after', '\nHelp for a command: mkondo help COMMAND. Settings: mkondo help settings.')
  for (const [heading, definitions] of Object.entries(COMMANDS)) {
    program.commandsGroup(heading)
    for (const define of definitions) define(program, terminal, ends)
  }
  return program
}

/**
 * Runs a command line.
 * @param argv  without `mkondo`
 * @param raw  gets what no terminal misunderstands, whatever a command prints
 * @returns the exit code: 0 done, 1 failed, 2 something that was given is wrong
 */
export async function run(argv: readonly string[], raw: Terminal): Promise<number> {
  let code = 0
  const terminal: Terminal = {
    ...raw,
    out: (text) => raw.out(terminalText(text)),
    err: (text) => raw.err(terminalText(text)),
  }
  const program = programOf(terminal, (ended) => {
    code = ended
  })
  try {
    await program.parseAsync(withCommand(argv), { from: 'user' })
    return code
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0 // help or version
    for (const line of errorText(thrown, commandOf(program, argv)).split('\n')) terminal.err(`mkondo${line}\n`)
    return thrown instanceof CommanderError ? 2 : exitCodeOf(thrown)
  }
}

const ABOUT = ['-h', '--help', '-v', '--version']

/** `serve` is what runs without a command. */
export function withCommand(argv: readonly string[]): readonly string[] {
  const [first] = argv
  if (first === undefined) return ['serve']
  return first.startsWith('-') && !ABOUT.includes(first) ? ['serve', ...argv] : argv
}

/** The command that these arguments name: `calls list`. */
function commandOf(program: Command, argv: readonly string[]): Command {
  let command = program
  for (const word of withCommand(argv)) command = command.commands.find((one) => one.name() === word) ?? command
  return command
}

/** One line for what was used wrongly, with where to read on; the error's own lines for everything else. */
function errorText(thrown: unknown, command: Command): string {
  if (!(thrown instanceof CommanderError) && !(thrown instanceof UsageError))
    return messageOf(thrown)
      .split('\n')
      .map((line) => `: ${line}`)
      .join('\n')
  const path = pathOf(command)
  return `${path}: ${thrown instanceof UsageError ? thrown.message : usageText(thrown, command)} (see mkondo${path} --help)`
}

function usageText({ code, message }: CommanderError, command: Command): string {
  if (code === 'commander.help')
    return `needs a command; allowed: ${command.commands.map((one) => one.name()).join(', ')}`
  const [what = '', hint = ''] = message.replace(/^error: /, '').split('\n')
  const suggestion = /^\(Did you mean (.*)\?\)$/.exec(hint)?.[1]
  return `${what.replace(/\.$/, '')}${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`
}

/** ` calls list`; empty for the program itself. */
function pathOf(command: Command): string {
  return command.parent === null ? '' : `${pathOf(command.parent)} ${command.name()}`
}
