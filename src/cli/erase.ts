import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig } from '../config/load-config.js'
import { GatewayError } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import { ERASE_PEER_MS } from '../core/limits.js'
import { subscriberNumber } from '../sautikit/phone.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import { eraseCalls, findCalls } from '../telemetry/archive/erasure.js'
import type { ErasedCounts } from '../telemetry/archive/erasure.js'
import { HELP_OPTION, PROCESS_TERMINAL, exactly, json, wordsAndOptions, wrongUse } from './command-line.js'
import type { Terminal } from './command-line.js'
import { OpsClient, opsUrlOf, refusalOf } from './ops-client.js'

const HELP = `mkondo erase: deletes what the gateway keeps of ended calls, at all nodes: record and transcript, recordings (ours and
the carrier's copy), handoff packet, journal, and the state in the fleet's store. It says how much was erased, not what

  mkondo erase --sid SID          one call
  mkondo erase --number NUMBER    all calls of a caller (E.164); with - the number is read from standard input

  --masked       with --number: also calls whose record has its number masked and looks like this one. Without it the
                 carrier is asked about each (SAUTIKIT_API_KEY); those that stay uncertain are counted and left
  --offline      no gateway runs: erases from DATA_DIR of the settings file, and not from the fleet's store
  --json         JSON instead of text
  --ops-url URL  ops port of any node (http://127.0.0.1:9464; token in OPS_TOKEN)
  --config FILE  settings file (default mkondo.yaml, if it is there)

  A call that is live is refused, and nothing is erased. Log lines, metrics, traces and what was posted to others (handoff
  webhooks) are outside of the gateway: docs/OPERATIONS.md says how they are found.

  Exit code: 0 erased, 1 refused, uncertain, or a node does not answer, 2 wrong usage.
`

type Erased = ErasedCounts & { readonly keptStates: number }

interface ErasureReport {
  readonly erased: Erased
  readonly uncertain: number
  readonly complete: boolean
  readonly silent: readonly string[]
  readonly storeDown: boolean
}

type Target = { readonly sid: string } | { readonly number: string; readonly masked: boolean }

/** `mkondo erase`. @param readInput  all of standard input */
export async function erase(
  argv: readonly string[],
  terminal: Terminal = PROCESS_TERMINAL,
  readInput: () => Promise<string> = standardInput,
): Promise<number> {
  const { values, words } = wordsAndOptions('erase', argv, {
    sid: { type: 'string' },
    number: { type: 'string' },
    masked: { type: 'boolean', default: false },
    offline: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    'ops-url': { type: 'string' },
    config: { type: 'string' },
    help: HELP_OPTION,
  })
  if (values.help) {
    terminal.out(HELP)
    return 0
  }
  exactly('erase', words)
  const { sid, masked } = values
  const number = values.number === '-' ? (await readInput()).trim() : values.number
  const target = targetOf(sid, number, masked)
  const config = loadConfig(terminal.env, values.config ?? null)
  const report = values.offline
    ? await eraseOffline(config.dataDir, target)
    : await eraseOnline(new OpsClient(values['ops-url'] ?? opsUrlOf(config), config.opsToken, ERASE_PEER_MS), target)
  terminal.out(values.json ? json(report) : reportText(report))
  return report.complete && report.uncertain === 0 ? 0 : 1
}

function targetOf(sid: string | undefined, number: string | undefined, masked: boolean): Target {
  if ((sid === undefined) === (number === undefined)) throw wrongUse('erase', 'takes --sid or --number, one of them')
  if (number !== undefined) {
    const subscriber = subscriberNumber(number)
    // Not repeated: a number is not printed.
    if (subscriber === null) throw wrongUse('erase', '--number is no phone number of 7 digits or more')
    return { number: subscriber, masked }
  }
  if (!isCallSid(sid)) throw wrongUse('erase', '--sid is not 1 to 64 characters of A-Z a-z 0-9 _ -')
  if (masked) throw wrongUse('erase', '--masked goes with --number')
  return { sid }
}

async function eraseOnline(ops: OpsClient, target: Target): Promise<ErasureReport> {
  const { status, body } = await ops.post('/api/erase', target)
  if (status !== 200) throw refusalOf(body, status)
  return body as unknown as ErasureReport
}

/** @throws GatewayError CONFIG_INVALID while a gateway uses the folder */
async function eraseOffline(dataDir: string, target: Target): Promise<ErasureReport> {
  if (!existsSync(dataDir)) throw new GatewayError('CONFIG_INVALID', `DATA_DIR is '${dataDir}', which is not there`)
  const folders = [dataDir, ...processFolders(dataDir)]
  const held = []
  try {
    for (const folder of folders) held.push(await holdDataFolder(folder))
    const found = 'sid' in target ? { exact: [target.sid], alike: [] } : findCalls(folders, target.number)
    const alsoAlike = 'number' in target && target.masked
    const callSids = [...found.exact, ...(alsoAlike ? found.alike : [])]
    return {
      erased: { ...eraseCalls(folders, callSids), keptStates: 0 },
      uncertain: alsoAlike ? 0 : found.alike.length,
      complete: true,
      silent: [],
      storeDown: false,
    }
  } finally {
    for (const folder of held) folder.release()
  }
}

/** Those of further processes (`--processes`). */
function processFolders(dataDir: string): string[] {
  return readdirSync(dataDir)
    .filter((name) => /^process-\d{1,3}$/.test(name))
    .map((name) => join(dataDir, name))
}

function reportText({ erased, uncertain, silent, storeDown }: ErasureReport): string {
  const lines = [
    `erased: ${counted(erased.calls, 'call')}: ${counted(erased.records, 'record')}, ${counted(erased.handoffs, 'handoff packet')}, ` +
      `${counted(erased.recordings, 'recording')}, ${counted(erased.carrierRecordings, "carrier's recording")}, ` +
      `${counted(erased.journals, 'journal')}, ${counted(erased.keptStates, 'kept state')}`,
  ]
  if (uncertain > 0)
    lines.push(
      `left: ${counted(uncertain, 'call')} whose record has its number masked and may be of this number; ` +
        '--masked erases them too',
    )
  for (const name of silent) lines.push(`node ${name} did not answer: erase again when it does`)
  if (storeDown) lines.push("the fleet's store did not answer: erase again when it does")
  return `${lines.join('\n')}\n`
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

async function standardInput(): Promise<string> {
  let text = ''
  for await (const chunk of process.stdin) text += String(chunk)
  return text
}
