import type { ServeOptions } from '../serve/serve.js'
import { withExitCodes } from '../exit-codes.js'
import { configOption } from '../options.js'
import type { Define } from './define.js'

export const defineServe: Define = (program, _terminal, ends) => {
  const command = program
    .command('serve')
    .description('run the gateway until stopped (the default command)')
    .option('--processes <n>', 'gateway processes on the public port, 1 to 64 (default: 1)')
    .option('--with-shop', "also run the demo's orders API on loopback, unless SHOP_API_URL is set")
    .addOption(configOption())
    .option(
      '--env-file <file>',
      'file with variables (NAME=value lines); the environment takes precedence; read again at SIGHUP',
    )
    .addHelpText(
      'after',
      `
On SIGTERM and SIGINT the gateway finishes its calls first (DRAIN_TIMEOUT); a second signal ends it at once.

With --processes, MAX_CALLS, MEDIA_WORKERS, OUTBOUND_PER_MINUTE, RECOVERY_PER_MINUTE, RECORDS_KEEP_MB and
RECORDINGS_KEEP_MB are divided among the processes. Process i, from 0, has its ops port at OPS_PORT + i and receives its
audio at PORT + 1 + i (behind a balancer: NODE_URL). SIGHUP replaces them one after the other, with a spare process
that uses the ports after theirs: each new process runs the program and settings that are on disk then, and no call is
cut off.

Settings: mkondo help settings`,
    )
  withExitCodes(command, 'stopped in order', 'failed', 'a setting, an agent or a port is wrong').action(
    async (options: ServeOptions) => {
      ends(await (await import('../serve/serve.js')).serve(options))
    },
  )
}
