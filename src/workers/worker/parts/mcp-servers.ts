import type { WorkerDoor } from '../worker-door.js'
import type { WorkerPart, WorkerThings } from '../worker-part.js'

/**
 * The agent's MCP servers. The model receives their present tools. The main thread receives a report when a server goes
 * up or down.
 */
export class McpServers implements WorkerPart {
  readonly #door: Pick<WorkerDoor, 'guard' | 'post'>
  readonly #of: WorkerThings
  #unwatch: (() => void) | undefined

  constructor(door: Pick<WorkerDoor, 'guard' | 'post'>, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  begin(): void {
    const { guard, post } = this.#door
    const { services, briefing, backend, signal } = this.#of
    this.#unwatch = services.tools.watchServers((news, reports) =>
      guard(() => {
        if (signal.aborted) return
        if (reports) post({ type: 'mcp', news })
        if (briefing.toolsOffered) backend.updateSession({ tools: briefing.told.tools })
      }),
    )
  }

  end(): void {
    this.#unwatch?.()
  }
}
