import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CallRecord } from '../call/documents/record.js'
import { packageVersion } from '../config/package-root.js'
import { loadConfig } from '../config/load-config.js'
import { messageOf } from '../core/errors.js'
import { timelineOf } from '../call/documents/call-view.js'
import { callRecordSchema } from '../call/documents/record.js'
import { UsageError } from './exit-codes.js'
import { cutJournal } from './journal-cut.js'
import { journalOf } from './file-of-call.js'
import { opsClientOf, refusalOf } from './ops-client.js'
import type { OpsClient, OpsOptions } from './ops-client.js'
import { redactForSupport } from './support-redaction.js'
import { tarOf } from './tar.js'
import { json } from './terminal.js'
import type { Terminal } from './terminal.js'

/** The options of `mkondo bundle`. */
export interface BundleOptions extends OpsOptions {
  readonly withWords?: true
  readonly to: string
}

/** What is in a bundle, and what is not. */
interface Bundle {
  readonly files: Readonly<Record<string, string>>
  readonly redacted: readonly string[]
  readonly missing: readonly string[]
}

/** `mkondo bundle`. */
export async function bundle(callSid: string, options: BundleOptions, terminal: Terminal): Promise<number> {
  const ops = opsClientOf(options, terminal)
  const { opsToken } = loadConfig(terminal.env, options.config ?? null)
  const { files, redacted, missing } = await collect(ops, callSid, opsToken, options.withWords === true)
  const name = `mkondo-bundle-${callSid}`
  const readme = readmeOf(callSid, { files, redacted, missing })
  const path = join(options.to, `${name}.tar.gz`)
  await writeFile(path, tarOf(name, { 'README.txt': readme, ...files }, Date.now()), { mode: 0o600 })
  terminal.out(
    options.json === true
      ? json({ path, files: ['README.txt', ...Object.keys(files)], redacted, missing })
      : `${path}\n\n${readme}`,
  )
  return 0
}

/** @throws GatewayError when the gateway does not answer, or has no record of the call */
async function collect(ops: OpsClient, callSid: string, token: string | null, withWords: boolean): Promise<Bundle> {
  const missing: string[] = []
  const { status, body } = await ops.get(`/api/calls/${callSid}`)
  if (status !== 200) throw refusalOf(body, status)
  const read = callRecordSchema.safeParse(body)
  if (!read.success) throw new UsageError('the call is live: its record is made when it ends')
  const { record, redacted } = redactForSupport(read.data, withWords)
  const files: Record<string, string> = {
    'record.json': json(record),
    'timeline.json': json(timelineOf(record as CallRecord, null)),
  }
  const said = [
    `record.json, timeline.json: ${redacted.texts} texts were replaced with x and 0; in ${redacted.masked} texts a number, key or address was masked`,
  ]
  const journal = await journalOf(ops, callSid, token)
  if (typeof journal === 'string') {
    try {
      files['journal.jsonl'] =
        `${cutJournal(journal.split('\n'), { untilS: null, withWords, withAudio: false }).join('\n')}\n`
      said.push(
        `journal.jsonl: its audio is left out, its SID is replaced, ${withWords ? 'and' : 'every letter and digit of the words is replaced, and'} numbers are masked`,
      )
    } catch (thrown) {
      missing.push(`journal.jsonl: ${messageOf(thrown)}`)
    }
  } else missing.push(`journal.jsonl: ${journal.why}`)

  const [settings, backends, refusals, fleet] = await Promise.all(
    ['/api/settings', '/api/backends', '/api/refusals', '/api/fleet'].map((path) => ops.get(path)),
  )
  if (settings?.status === 200) {
    files['settings.json'] = json({ mkondo: packageVersion(), node: process.version, ...settings.body })
    said.push('settings.json: secrets only as set or not set')
  } else missing.push('settings.json: this gateway did not send its settings')
  const ofCall = (refusals?.body['refusals'] as readonly { readonly callSid: string | null }[] | undefined)?.filter(
    (refusal) => refusal.callSid === callSid,
  )
  files['node.json'] = json({
    backends: backends?.body['backends'] ?? null,
    refusals: ofCall ?? [],
    fleet: fleet?.status === 200 ? fleet.body : null,
  })
  missing.push(
    `log lines: find them in your logs; those of this call have "call_sid":"${callSid}"`,
    'recording.wav and the handoff packet: they cannot be redacted',
  )
  return { files, redacted: said, missing }
}

function readmeOf(callSid: string, { files, redacted, missing }: Bundle): string {
  const list = (lines: readonly string[]): string => lines.map((line) => `  ${line}\n`).join('')
  return (
    `Support bundle of call ${callSid}, made by mkondo ${packageVersion()}\n\n` +
    `Contents:\n${list(Object.keys(files))}\nRedacted:\n${list(redacted)}\nMissing:\n${list(missing)}`
  )
}
