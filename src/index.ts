/**
 * What agents in code import: `import { defineAgent, defineTool } from 'mkondo'`. Everything else of this package is its own
 * and may change.
 */
export { defineAgent, defineTool } from './agents/code-tool.js'
export type { AgentModuleInput, CodeToolContext, CodeToolInput } from './agents/code-tool.js'
export type { AgentInput } from './agents/definition.js'
