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
import { defineCost } from './commands/cost.js'
import type { Define } from './commands/define.js'
import { defineDemo } from './commands/demo.js'
import { defineDoctor } from './commands/doctor.js'
import { defineDouble } from './commands/double.js'
import { defineErase } from './commands/erase.js'
import { defineExchange } from './commands/exchange.js'
import { defineExport } from './commands/export.js'
import { defineFleet, defineTop } from './commands/fleet.js'
import { defineHelp } from './commands/help.js'
import { defineInit } from './commands/init.js'
import { defineKnowledge } from './commands/knowledge.js'
import { defineLearn } from './commands/learn.js'
import { defineCampaign, defineDoNotCall } from './commands/campaign.js'
import { defineMcp } from './commands/mcp.js'
import { defineMessages } from './commands/messages.js'
import { defineNumbers } from './commands/numbers.js'
import { definePhone } from './commands/phone.js'
import { defineReplay } from './commands/replay.js'
import { defineServe } from './commands/serve.js'
import { defineSimulate } from './commands/simulate.js'
import { defineSimulator } from './commands/simulator.js'
import { defineWhy } from './commands/why.js'
import { defineUpgrade } from './commands/upgrade.js'
import { UsageError, exitCodeOf } from './exit-codes.js'
import { filledHelp, helpColumns } from './terminal.js'
import type { Terminal } from './terminal.js'

/** All commands, grouped by the heading under which help shows them. */
const COMMANDS: Readonly<Record<string, readonly Define[]>> = {
  'Start here:': [defineDemo, defineInit, defineCheck, defineServe],
  'Try an agent:': [defineCall, definePhone, defineSimulate, defineReplay, defineSimulator, defineDouble],
  'Run it:': [
    defineDoctor,
    defineCalls,
    defineWhy,
    defineTop,
    defineFleet,
    defineNumbers,
    defineMessages,
    defineExchange,
    defineCallOut,
    defineCampaign,
    defineDoNotCall,
    defineCost,
    defineBundle,
    defineExport,
    defineErase,
    defineLearn,
    defineMcp,
    defineKnowledge,
    defineUpgrade,
  ],
  'About mkondo:': [defineHelp, defineCompletion],
}

/** Command line of mkondo: every command with its options and help. @param ends  called with the exit code */
export function programOf(terminal: Terminal, ends: (code: number) => void): Command {
  const columns = helpColumns(terminal)
  const program = new Command('mkondo')
    .description('a media gateway for voice agents on phone calls')
    .version(packageVersion(), '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({
      // A command's help also shows its parent's options, such as the common options of `calls`. The program's own
      // options are shown only in the program's help.
      showGlobalOptions: true,
      visibleGlobalOptions: ({ parent }) => (parent === null || parent.parent === null ? [] : [...parent.options]),
    })
    // `run` prints the errors, one line for each.
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
 * @param raw  receives text; control characters in the output are removed
 * @returns the exit code: 0 done, 1 failed, 2 wrong input
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

/** Adds `serve` to a command line without a command. */
export function withCommand(argv: readonly string[]): readonly string[] {
  const [first] = argv
  if (first === undefined) return ['serve']
  return first.startsWith('-') && !ABOUT.includes(first) ? ['serve', ...argv] : argv
}

/** Command that these arguments name: `calls list`. */
function commandOf(program: Command, argv: readonly string[]): Command {
  let command = program
  for (const word of withCommand(argv)) command = command.commands.find((one) => one.name() === word) ?? command
  return command
}

/** Text of an error. A usage error has one line with the help command; any other error has its own lines. */
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

/** Path of a command: ` calls list`; empty for the program itself. */
function pathOf(command: Command): string {
  return command.parent === null ? '' : `${pathOf(command.parent)} ${command.name()}`
}
