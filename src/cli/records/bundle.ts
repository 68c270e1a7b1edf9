import { packageVersion } from '../../config/package-root.js'
import { messageOf } from '../../core/errors.js'
import { timelineOf } from '../../call/documents/call-view.js'
import { callRecordSchema } from '../../call/documents/record.js'
import { Archive } from './archive.js'
import { UsageError } from '../exit-codes.js'
import { cutJournal } from './journal-cut.js'
import { journalOf, opsClientOf } from '../ops-client.js'
import type { OpsClient, OpsOptions } from '../ops-client.js'
import { redactForSupport } from './support-redaction.js'
import { shown } from '../terminal.js'
import type { Terminal } from '../terminal.js'

/** The options of `mkondo bundle`. */
export interface BundleOptions extends OpsOptions {
  readonly withWords?: true
  readonly to: string
}

/** `mkondo bundle`. */
export async function bundle(callSid: string, options: BundleOptions, terminal: Terminal): Promise<number> {
  const ops = opsClientOf(options, terminal)
  const archive = new Archive()
  const redacted = await collect(archive, ops, callSid, options.withWords === true)
  const { names, missing } = archive
  const readme =
    `Support bundle of call ${callSid}, made by mkondo ${packageVersion()}\n\n` +
    [
      Archive.section('Contents', names),
      Archive.section('Redacted', redacted),
      Archive.section('Missing', missing),
    ].join('\n')
  const path = await archive.write(options.to, `mkondo-bundle-${callSid}`, readme, 'w')
  const result = { path, files: ['README.txt', ...names], redacted, missing }
  return shown(options, terminal, result, () => `${path}\n\n${readme}`)
}

/**
 * Adds the files of a bundle to the archive.
 * @returns the counts of redactions
 * @throws GatewayError if the gateway does not answer, or the call's record is missing
 */
async function collect(
  archive: Archive,
  ops: OpsClient,
  callSid: string,
  withWords: boolean,
): Promise<readonly string[]> {
  const { missing } = archive
  const read = callRecordSchema.safeParse(await ops.ask(`/api/calls/${callSid}`))
  if (!read.success) throw new UsageError('the call is live: its record is made when it ends')
  const { record, redacted } = redactForSupport(read.data, withWords)
  archive.add('record.json', record)
  archive.add('timeline.json', timelineOf(record, null))
  const said = [
    `record.json, timeline.json: ${redacted.texts} texts were replaced with x and 0; in ${redacted.masked} texts a number, key or address was masked`,
  ]
  const journal = await journalOf(ops, callSid)
  if (typeof journal === 'string') {
    try {
      const lines = cutJournal(journal.split('\n'), { untilS: null, withWords, withAudio: false })
      archive.add('journal.jsonl', `${lines.join('\n')}\n`)
      said.push(
        `journal.jsonl: its audio is left out, its SID is replaced, ${withWords ? 'and' : 'every letter and digit of the words is replaced, and'} numbers are masked`,
      )
    } catch (thrown) {
      missing.push(`journal.jsonl: ${messageOf(thrown)}`)
    }
  } else missing.push(`journal.jsonl: ${journal.why}`)

  const [settings, backends, refusals, fleet] = await Promise.all(
    ['/api/settings', '/api/backends', '/api/refusals', '/api/fleet'].map((path) => ops.answer(path)),
  )
  if (settings?.status === 200) {
    archive.add('settings.json', { mkondo: packageVersion(), node: process.version, ...settings.body })
    said.push('settings.json: secrets only as set or not set')
  } else missing.push('settings.json: this gateway did not send its settings')
  const ofCall = (refusals?.body['refusals'] as readonly { readonly callSid: string | null }[] | undefined)?.filter(
    (refusal) => refusal.callSid === callSid,
  )
  archive.add('node.json', {
    backends: backends?.body['backends'] ?? null,
    refusals: ofCall ?? [],
    fleet: fleet?.status === 200 ? fleet.body : null,
  })
  missing.push(
    `log lines: find them in your logs; those of this call have "call_sid":"${callSid}"`,
    'recording.wav and the handoff packet: they cannot be redacted',
  )
  return said
}
