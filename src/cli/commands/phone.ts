import type { PhoneOptions } from '../phone.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, valued, whole } from '../options.js'
import { untilSignal } from '../terminal.js'
import type { Define } from './define.js'

/** The port of SIP. */
const SIP_PORT = 5060

export const definePhone: Define = (program, terminal, ends) => {
  const command = program
    .command('phone')
    .description('call an agent with a SIP phone of your own: runs gateway, shop, exchange and Asterisk')
    .addOption(valued('--agent <name>', 'the agent that answers', agentName).default('order-status'))
    .option(
      '--root <folder>',
      "folder with a system that has Asterisk (default: ASTERISK_ROOT, else this machine's Asterisk)",
    )
    .option(
      '--lan [address]',
      'for phones on your network, at this address of the machine (default: phones on this machine; without an address: its first), with QR codes for Linphone',
    )
    .addOption(valued('--port <n>', 'port of SIP (UDP)', whole(1024, 65_535)).default(SIP_PORT))
    .addHelpText(
      'after',
      `
It needs Asterisk 22.8 or later, downloads nothing, and keeps nothing: settings, passwords and records are new each time
and are removed at the end. Models and keys come from the environment, as for mkondo serve.`,
    )
  withExitCodes(command, 'stopped', 'failed').action(async (options: PhoneOptions) => {
    const { runPhone } = await import('../phone.js')
    await untilSignal(terminal, (signal) => runPhone(options, terminal, signal))
    ends(0)
  })
}
