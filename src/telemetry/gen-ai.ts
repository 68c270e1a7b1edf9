/**
 * Names of the semantic conventions for generative AI, as spans have them: those of open-telemetry/semantic-conventions-genai
 * 0.1.0, all still in development. They are frozen here, so that an update of a package renames nothing in an operator's traces.
 */
export const GEN_AI = {
  agentName: 'gen_ai.agent.name',
  agentVersion: 'gen_ai.agent.version',
  conversationId: 'gen_ai.conversation.id',
  operationName: 'gen_ai.operation.name',
  outputType: 'gen_ai.output.type',
  providerName: 'gen_ai.provider.name',
  requestModel: 'gen_ai.request.model',
  toolName: 'gen_ai.tool.name',
  toolType: 'gen_ai.tool.type',
  usageInputTokens: 'gen_ai.usage.input_tokens',
  usageOutputTokens: 'gen_ai.usage.output_tokens',
} as const

/** Their names for the providers of backends; any other backend is its own provider. */
export const GEN_AI_PROVIDERS: Readonly<Record<string, string>> = {
  openai: 'openai',
  'openai-live': 'openai',
  gemini: 'gcp.gemini',
}
