/**
 * Imports for agents in code: `import { defineAgent, defineTool } from 'mkondo'`. Everything else in this package is
 * internal and may change.
 */
export { defineAgent, defineTool } from './agents/tools/code-tool.js'
export type { AgentModuleInput, CodeToolContext, CodeToolInput } from './agents/tools/code-tool.js'
export type { AgentInput } from './agents/file/definition.js'
