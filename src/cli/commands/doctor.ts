import type { DoctorOptions } from '../doctor/doctor.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, configOption, jsonFileOption, jsonTarget, text, valued, whole } from '../options.js'
import { untilSignal } from '../terminal.js'
import type { Define } from './define.js'

const WAIT_S_DEFAULT = 600
const WAIT_S_MAX = 3600

export const defineDoctor: Define = (program, terminal, ends) => {
  const command = program
    .command('doctor')
    .description('guide the first real call, and find out how the carrier behaves')
    .addOption(valued('--number <number>', 'the number to call: a number of the workspace, or its id', text))
    .addOption(valued('--claim <number>', 'claim this number first, which costs money', text).conflicts('number'))
    .option('--by-hand', "route the number here yourself; the carrier's API is not used")
    .addOption(
      valued(
        '--agent <name>',
        'the agent to which the number is routed afterwards (default: the previous route)',
        agentName,
      ).conflicts('byHand'),
    )
    .option('--both-tracks', 'request both_tracks in place of inbound_track, to see the audio that the carrier sends')
    .addOption(valued('--wait <seconds>', 'maximum wait for the calls', whole(10, WAIT_S_MAX)).default(WAIT_S_DEFAULT))
    .option('--no-reach', 'do not try PUBLIC_URL from this machine')
    .addOption(valued('--write <file>', 'write the settings that follow to this environment file, such as .env', text))
    .addOption(jsonFileOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
Stop the gateway first: the doctor uses its ports. It checks PUBLIC_URL (DNS, TLS, a webhook and an audio socket that
must arrive at this process), routes a number here and waits for you to call it. The call takes half a minute. Then the
doctor reports what the carrier sends and does, which open questions of docs/PROTOCOL.md this answers, and which settings
follow. The report contains no numbers, ids, secrets or words of a call. See docs/DOCTOR.md.`,
    )
  withExitCodes(
    command,
    'a complete call came',
    'PUBLIC_URL does not lead here, or no complete call came',
    'a setting, a port or an option is wrong',
  ).action(async ({ json, ...options }: Omit<DoctorOptions, 'json'> & { readonly json?: string | true }) => {
    const { doctor } = await import('../doctor/doctor.js')
    ends(await untilSignal(terminal, (signal) => doctor({ ...options, json: jsonTarget(json) }, terminal, signal)))
  })
}
