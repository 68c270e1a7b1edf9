import type { AgentEditing } from '../../src/edge/options.js'

/** Hash in the form of texts' and versions' hashes. */
export const HASH = '0123456789abcdef'

/** Editor that edits no files and records its requests. @param more  methods that replace the double's methods */
export function editorDouble(more: Partial<AgentEditing> = {}): {
  readonly editor: AgentEditing
  readonly asked: unknown[]
} {
  const asked: unknown[] = []
  const here = { files: [{ file: 'a.yaml', hash: HASH, refusal: null }], agents: [] }
  const found = { faults: [], hash: HASH, agent: 'a', version: HASH }
  const noted = <T>(what: string, answer: T) => {
    return (...args: readonly unknown[]): Promise<T> => {
      asked.push([what, ...args])
      return Promise.resolve(answer)
    }
  }
  const opened = { file: 'a.yaml', text: 'x', refusal: null, agent: 'a', hash: HASH, current: HASH, versions: [] }
  const editor: AgentEditing = {
    here: noted('here', here),
    open: noted('open', opened),
    check: noted('check', found),
    draft: noted('draft', { ...found, id: '6f1e2f9a-0000-4000-8000-000000000000' }),
    publish: noted('publish', { faults: [], hash: HASH, before: HASH, inUse: true, earlier: [] }),
    tries: () => false,
    ...more,
  }
  return { editor, asked }
}
