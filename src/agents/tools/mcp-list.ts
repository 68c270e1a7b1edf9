import type { Client } from '@modelcontextprotocol/client'
import { z } from 'zod'

/** Maximum number of pages of a list that are requested. */
const LIST_PAGES_MAX = 32
/** Maximum time for one page, and time after which no further page is requested, in milliseconds. */
const PAGE_MS = 5000
const LIST_MS = 15_000

/**
 * A tool as its server describes it. Only the name is certain: other fields may have any value, because each tool is
 * judged alone.
 */
const listedTool = z.looseObject({ name: z.string() })
export type ListedTool = z.output<typeof listedTool>

/** One page of a list. Unlike the client's own schema, this schema does not refuse a page because of one tool. */
const page = z.looseObject({
  tools: z.array(z.unknown()),
  nextCursor: z.string().nullish(),
  ttlMs: z.unknown().optional(),
})

/** Tools of a server that an agent names. */
export interface ToolList {
  /** The first tool of each name. */
  readonly tools: ReadonlyMap<string, ListedTool>
  /** Time for which the list is valid, as the server sent it. */
  readonly ttlMs: unknown
  /**
   * First page that did not come, with its error; the pages before it count. The error is null if the list is too long.
   * Null if all pages came that were needed.
   */
  readonly fault: { readonly page: number; readonly thrown: unknown } | null
}

/**
 * Reads a server's list of tools, page by page, until all named tools are found or the list ends.
 * @param isFinal  true for an error after which the pages that came must not be used
 * @throws the error of the first page, and each final error
 */
export async function readToolList(
  client: Client,
  names: ReadonlySet<string>,
  isFinal: (thrown: unknown) => boolean,
): Promise<ToolList> {
  const tools = new Map<string, ListedTool>()
  const startMs = performance.now()
  const seen = new Set<string>()
  let ttlMs: unknown
  for (let cursor: string | null = null; ;) {
    try {
      const params: { params?: { cursor: string } } = cursor === null ? {} : { params: { cursor } }
      const answer: z.output<typeof page> = await client.request({ method: 'tools/list', ...params }, page, {
        timeout: PAGE_MS,
      })
      if (cursor === null) ttlMs = answer.ttlMs
      for (const entry of answer.tools) {
        const tool = listedTool.safeParse(entry)
        if (tool.success && names.has(tool.data.name) && !tools.has(tool.data.name))
          tools.set(tool.data.name, tool.data)
      }
      cursor = answer.nextCursor ?? null
    } catch (thrown) {
      if (cursor === null || isFinal(thrown)) throw thrown
      return { tools, ttlMs, fault: { page: seen.size + 1, thrown } }
    }
    // A list that leads back to an earlier page has no further tools.
    if (cursor === null || tools.size === names.size || seen.has(cursor)) return { tools, ttlMs, fault: null }
    seen.add(cursor)
    if (seen.size >= LIST_PAGES_MAX || performance.now() - startMs > LIST_MS)
      return { tools, ttlMs, fault: { page: seen.size + 1, thrown: null } }
  }
}
