import { writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { CallRecord } from '../call/documents/record.js'
import { packageVersion } from '../config/package-root.js'
import { loadConfig } from '../config/load-config.js'
import { messageOf } from '../core/errors.js'
import { ERASE_PEER_MS } from '../core/limits.js'
import { subscriberNumber, useCountry } from '../sautikit/phone.js'
import { UsageError } from './exit-codes.js'
import { fileOfCall } from './file-of-call.js'
import { opsClientOf, refusalOf } from './ops-client.js'
import type { OpsClient, OpsOptions } from './ops-client.js'
import { tarOf } from './tar.js'
import { json } from './terminal.js'
import type { Terminal } from './terminal.js'

/** Bytes of an archive before it is compressed; files beyond are named as missing. */
const ARCHIVE_BYTES_MAX = 1024 * 1024 * 1024

/** The options of `mkondo export`. */
export interface ExportOptions extends OpsOptions {
  readonly masked?: true
  readonly to: string
}

/** What `POST /api/export` answers. */
interface Found {
  readonly callSids: readonly string[]
  readonly live: number
  readonly uncertain: number
  readonly more: number
  readonly rows: readonly object[]
  readonly doNotCall: boolean
  /** Absent from earlier builds. */
  readonly messages?: readonly object[]
  readonly silent: readonly string[]
}

/** Files by name, and what is missing. */
interface Archive {
  readonly files: Record<string, string | Uint8Array>
  bytes: number
  readonly missing: string[]
}

/** `mkondo export`. */
export async function exportCaller(given: string, options: ExportOptions, terminal: Terminal): Promise<number> {
  const { country, opsToken } = loadConfig(terminal.env, options.config ?? null)
  useCountry(country)
  const number = subscriberNumber(given === '-' ? (await terminal.input()).trim() : given)
  // Not repeated: a number is not printed.
  if (number === null) throw new UsageError('the number is not a phone number; allowed: 7 or more digits')
  const ops = opsClientOf(options, terminal, ERASE_PEER_MS)
  const { status, body } = await ops.post('/api/export', { number, masked: options.masked === true })
  if (status !== 200) throw refusalOf(body, status)
  const found = body as unknown as Found
  const archive: Archive = { files: {}, bytes: 0, missing: missingOf(found) }
  if (found.rows.length > 0) add(archive, 'campaigns.json', json(found.rows))
  if ((found.messages ?? []).length > 0) add(archive, 'messages.json', json(found.messages))
  for (const callSid of found.callSids) await addCall(archive, ops, callSid, opsToken)
  const about = aboutOf(found, archive)
  const name = `mkondo-export-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`
  const path = join(options.to, `${name}.tar.gz`)
  await writeFile(path, tarOf(name, { 'README.txt': about, ...archive.files }, Date.now()), { mode: 0o600, flag: 'wx' })
  const { files, missing } = archive
  terminal.out(
    options.json === true
      ? json({ path, calls: found.callSids.length, files: Object.keys(files), missing })
      : `${path}\n\n${about}`,
  )
  return missing.length === 0 ? 0 : 1
}

function missingOf({ live, uncertain, more, silent }: Found): string[] {
  return [
    ...silent.map((node) => `the calls at node ${node}, which did not answer: repeat the command when it does`),
    ...(live === 0 ? [] : [`calls that are live (${live}): repeat the command when they have ended`]),
    ...(uncertain === 0
      ? []
      : [
          `calls with a masked number that may be this one (${uncertain}): --masked takes them too, and perhaps others'`,
        ]),
    ...(more === 0 ? [] : [`${more} more calls than one answer names`]),
  ]
}

async function addCall(archive: Archive, ops: OpsClient, callSid: string, token: string | null): Promise<void> {
  const [call, handoff] = await Promise.all([
    ops.get(`/api/calls/${callSid}`),
    ops.get(`/api/calls/${callSid}/handoff`),
  ])
  const record = call.body as Partial<CallRecord>
  if (call.status === 200) add(archive, `${callSid}/record.json`, json(record))
  else archive.missing.push(`${callSid}/record.json: ${refusalOf(call.body, call.status).message}`)
  if (handoff.status === 200) add(archive, `${callSid}/handoff.json`, json(handoff.body))
  else if (handoff.status !== 404)
    archive.missing.push(`${callSid}/handoff.json: ${refusalOf(handoff.body, handoff.status).message}`)
  const addFile = async (view: string, name: string, isNamed: boolean, node: string | null = null): Promise<void> => {
    const bytes = await fileOfCall(ops, callSid, view, token).catch((thrown: unknown) => ({
      status: 0,
      why: messageOf(thrown),
    }))
    if (bytes instanceof Uint8Array) add(archive, `${callSid}/${name}`, bytes)
    else if (bytes.status !== 404 || isNamed)
      archive.missing.push(
        `${callSid}/${name}: ${bytes.why}${node === null ? '' : ` (it was recorded at node ${node})`}`,
      )
  }
  for (const { recording, node } of record.resumed ?? [])
    if (recording !== null)
      await addFile(`recording.wav?part=${partOf(recording)}`, `recording.${partOf(recording)}.wav`, true, node)
  if (typeof record.recording === 'string')
    await addFile(`recording.wav?part=${partOf(record.recording)}`, 'recording.wav', true)
  const carriers = record.carrier?.recording ?? null
  if (carriers !== null) await addFile('carrier-recording', `carrier-recording${extname(carriers)}`, true)
  await addFile('journal.jsonl', 'journal.jsonl', false)
}

/** The part that a file of a recording is: `recordings/SID.wav` the first, `recordings/SID.2.wav` the second. */
function partOf(recording: string): string {
  return /\.(\d)\.wav$/.exec(recording)?.[1] ?? '1'
}

function add(archive: Archive, name: string, content: string | Uint8Array): void {
  const bytes = typeof content === 'string' ? Buffer.byteLength(content) : content.length
  if (archive.bytes + bytes > ARCHIVE_BYTES_MAX) {
    archive.missing.push(`${name}: the archive would be larger than ${ARCHIVE_BYTES_MAX} bytes`)
    return
  }
  archive.bytes += bytes
  archive.files[name] = content
}

function aboutOf({ callSids, doNotCall }: Found, { files, missing }: Archive): string {
  const list = (lines: readonly string[]): string => lines.map((line) => `  ${line}\n`).join('')
  return (
    `What the gateway keeps of a caller: ${callSids.length} calls. Made by mkondo ${packageVersion()}.\n` +
    `The number is ${doNotCall ? '' : 'not '}on the do-not-call list.\n\n` +
    `Contents:\n${list(Object.keys(files))}\n` +
    (missing.length === 0 ? '' : `Missing:\n${list(missing)}\n`) +
    'Not kept here: log lines, traces, and what receivers of messages, tools, the carrier and the model have.\n'
  )
}
