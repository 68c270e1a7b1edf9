import type { ToolContext, ToolOutcome } from '../../agents/tool.js'
import type { ToolRunner } from '../../agents/tool-runner.js'

/** The tools of one call, seen running: while one is, the call's own time must not run ahead of the real one. */
export class WatchedTools implements Pick<ToolRunner, 'run'> {
  running = 0
  readonly #tools: Pick<ToolRunner, 'run'>

  constructor(tools: Pick<ToolRunner, 'run'>) {
    this.#tools = tools
  }

  async run(name: string, args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<ToolOutcome> {
    this.running++
    try {
      return await this.#tools.run(name, args, context)
    } finally {
      this.running--
    }
  }
}
