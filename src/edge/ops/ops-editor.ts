import { z } from 'zod'
import type { ErrorCode } from '../../core/errors.js'
import { AGENT_FILE_BYTES_MAX } from '../../core/limits.js'
import { errorReply, faultReply, jsonOf, jsonReply } from '../http/reply.js'
import type { HttpStatus, Reply } from '../http/reply.js'
import type { Audit, Operator } from './ops-audit.js'
import type {
  AgentEditing,
  EditedHere,
  EditedList,
  EdgeOptions,
  Publication,
  PublishedHere,
  PublishOrder,
  TriableDraft,
} from '../options.js'
import { editedFileSchema, editedTextSchema, textHashSchema } from './ops-requests.js'
import type { OpsRequest } from './ops-requests.js'

/** Maximum size in bytes of a body: a text in JSON, in which most escaped characters take two bytes. */
export const EDITOR_BODY_BYTES_MAX = 2 * AGENT_FILE_BYTES_MAX + 1024
/** Time in ms that another node may need to check the text in a thread and to use it for new calls. */
const PUBLISH_PEER_MS = 30_000

/** Body of `POST /api/editor/open`. */
export const openSchema = z.strictObject({
  file: editedFileSchema,
  version: textHashSchema.nullable().default(null).describe('Hash of a stored text; null for the current text.'),
})
/** Body of `POST /api/editor/check` and `/draft`. */
export const draftSchema = z.strictObject({ file: editedFileSchema, text: editedTextSchema })
/** Body of `POST /api/editor/publish`. */
export const publishSchema = z.strictObject({
  ...draftSchema.shape,
  base: textHashSchema.describe('Hash of the text that was opened.'),
})
type Draft = z.output<typeof draftSchema>

const STATUS: Partial<Readonly<Record<ErrorCode, HttpStatus>>> = {
  AGENT_UNKNOWN: 404,
  AGENT_INVALID: 400,
  AGENT_CHANGED: 409,
  CAPACITY: 503,
  CALL_FAULT: 502,
  AGENTS_DIR_UNWRITABLE: 503,
  STORE_DOWN: 503,
  STORE_REFUSED: 503,
}

/** Asks all other nodes. Resolves with their answers by name; null if a node did not answer. */
type AskAll = (request: OpsRequest, answerMs?: number) => Promise<readonly (readonly [string, Reply | null])[]>

/** Editing agents in the console: the texts of this node's folder, and their publication at all nodes of the fleet. */
export class EditorApi {
  readonly #editor: AgentEditing | undefined
  readonly #node: string | null
  readonly #askAll: AskAll
  readonly #audit: Audit

  constructor({ editor, fleet }: Pick<EdgeOptions, 'editor' | 'fleet'>, askAll: AskAll, audit: Audit) {
    this.#editor = editor
    this.#node = fleet?.node.name ?? null
    this.#askAll = askAll
    this.#audit = audit
  }

  /**
   * `GET /api/editor`: the files of each node's folder with hashes of their texts, and the versions that its new calls
   * get.
   */
  async list(): Promise<Reply> {
    const own = await this.here()
    if (own.status !== 200) return own
    const others = await this.#askAll({ what: 'edited' })
    const nodes: EditedList['nodes'] = [[this.#node, own] as const, ...others].map(([name, reply]) =>
      reply?.status === 200
        ? { name, answered: true, why: null, ...(jsonOf(reply) as EditedHere) }
        : { name, answered: reply !== null, why: refusalOf(reply), files: [], agents: [] },
    )
    return jsonReply({ nodes })
  }

  /** @returns the hashes of a file's text at all nodes */
  async #held(file: string): Promise<ReadonlySet<string>> {
    const { nodes } = jsonOf(await this.list()) as EditedList
    const hashes = nodes.flatMap(({ files }) => files.flatMap((one) => (one.file === file ? [one.hash] : [])))
    return new Set(hashes.filter((hash) => hash !== null))
  }

  /** Lists this node's files, as a part of the whole list. */
  async here(): Promise<Reply> {
    const editor = this.#editor
    return editor === undefined ? NO_EDITOR : answered(async () => jsonReply(await editor.here()))
  }

  /**
   * Answers `POST /api/editor/open`: the present text of a file, or an earlier text. It is a POST because it needs the
   * right to act.
   */
  async open(order: z.output<typeof openSchema> | undefined, operator: Operator): Promise<Reply> {
    const reply = await this.#asked(order, (editor, { file, version }) =>
      answered(async () => jsonReply(await editor.open(file, version))),
    )
    this.#note('open-agent', order, reply, operator)
    return reply
  }

  /**
   * Answers `POST /api/editor/check`: lists the faults of a text. It changes no file, and leaves no line in the audit
   * log.
   */
  check(order: Draft | undefined): Promise<Reply> {
    return this.#asked(order, (editor, draft) => answered(async () => jsonReply(await editor.check(draft))))
  }

  /** Answers `POST /api/editor/draft`: keeps a text as a draft for calls of the softphone. */
  async draft(order: Draft | undefined, operator: Operator): Promise<Reply> {
    const reply = await this.#asked(order, (editor, draft) =>
      answered(async () => jsonReply(await editor.draft(draft))),
    )
    const found = reply.status === 200 ? (jsonOf(reply) as TriableDraft) : null
    // The audit log counts a text with faults as refused, because no call can try it.
    const status = found !== null && found.faults.length > 0 ? 400 : reply.status
    this.#note('try-agent', order, { status }, operator, found === null ? {} : { after: found.hash })
    return reply
  }

  /**
   * Answers `POST /api/editor/publish`: publishes at this node, then at all other nodes. If another node could not be
   * reached earlier, its file may still have an earlier text of this node, which is replaced too.
   */
  async publish(order: z.output<typeof publishSchema> | undefined, operator: Operator): Promise<Reply> {
    if (this.#editor === undefined) return NO_EDITOR
    if (order === undefined) return BAD_ORDER
    const { file, text, base } = order
    const held = (): Promise<ReadonlySet<string>> => this.#held(file)
    const own = await this.publishHere({ file, text, bases: [base], held }, operator)
    if (own.status !== 200) return own
    const { faults, hash, inUse, earlier } = jsonOf(own) as PublishedHere
    if (faults.length > 0) return published({ published: false, faults, hash, nodes: [] })
    const bases = [...new Set([base, ...earlier])]
    const others = await this.#askAll({ what: 'publish-agent', file, text, bases, operator }, PUBLISH_PEER_MS)
    const here: NodeOutcome = { name: this.#node, outcome: 'published', inUse, why: null }
    return published({ published: true, faults, hash, nodes: [here, ...others.map(outcomeOf)] })
  }

  /** Publishes at this node. @param via  node that asks for the publication; null for this node */
  async publishHere(
    { file, text, bases, held }: PublishOrder,
    operator: Operator,
    via: string | null = null,
  ): Promise<Reply> {
    const editor = this.#editor
    if (editor === undefined) return NO_EDITOR
    const reply = await answered(async () => jsonReply(await editor.publish({ file, text, bases, held })))
    const result = reply.status === 200 ? (jsonOf(reply) as PublishedHere) : null
    const isAgain = result !== null && result.before !== result.hash && result.earlier.includes(result.hash)
    const command = isAgain ? 'roll-back-agent' : 'publish-agent'
    const status = result !== null && result.faults.length > 0 ? 400 : reply.status
    const known = reply.status === 404 ? {} : { file }
    const texts = result === null ? {} : { before: result.before, after: result.hash }
    this.#audit({ command, ...known, ...texts, ...(via === null ? {} : { via }) }, { status }, operator)
    return reply
  }

  async #asked<Order>(
    order: Order | undefined,
    ask: (editor: AgentEditing, order: Order) => Promise<Reply>,
  ): Promise<Reply> {
    if (this.#editor === undefined) return NO_EDITOR
    return order === undefined ? BAD_ORDER : ask(this.#editor, order)
  }

  /** Writes a line of the audit log. It leaves out the name of a file that does not exist. */
  #note(
    command: string,
    order: { readonly file: string } | undefined,
    reply: Pick<Reply, 'status'>,
    operator: Operator,
    texts: { readonly after?: string } = {},
  ): void {
    if (this.#editor === undefined) return
    const known = order === undefined || reply.status === 404 ? {} : { file: order.file }
    this.#audit({ command, ...known, ...texts }, reply, operator)
  }
}

type NodeOutcome = Publication['nodes'][number]

function outcomeOf([name, reply]: readonly [string, Reply | null]): NodeOutcome {
  if (reply?.status !== 200)
    return { name, outcome: reply === null ? 'unknown' : 'refused', inUse: false, why: refusalOf(reply) }
  const body = jsonOf(reply) as Partial<PublishedHere>
  const [fault] = body.faults ?? []
  return fault === undefined
    ? { name, outcome: 'published', inUse: body.inUse === true, why: null }
    : { name, outcome: 'refused', inUse: false, why: `${fault.line}:${fault.col} ${fault.what}` }
}

/** Reason of another node's refusal, as text. */
function refusalOf(reply: Reply | null): string {
  if (reply === null) return 'it did not answer'
  const { error } = jsonOf(reply) as { readonly error?: { readonly message?: string } }
  return error?.message ?? `it answered ${reply.status}`
}

function published(result: Publication): Reply {
  return jsonReply(result)
}

const NO_EDITOR: Reply = errorReply(404, 'NOT_FOUND', 'agents are not edited at this process: AGENTS_EDIT is not set')

const BAD_ORDER: Reply = errorReply(
  400,
  'BAD_REQUEST',
  `the body is a JSON object with "file", a name of GET /api/editor; for a check, a draft and a publication "text", at most ${AGENT_FILE_BYTES_MAX} bytes; for a publication "base", the hash of the text that was opened`,
)

async function answered(work: () => Promise<Reply>): Promise<Reply> {
  try {
    return await work()
  } catch (thrown) {
    return faultReply(thrown, STATUS, { CAPACITY: 2 })
  }
}
