/**
 * Names in the semantic conventions for generative AI, from open-telemetry/semantic-conventions-genai 0.1.0 (in
 * development). They are copied here, so that an update of a package cannot change the names in traces.
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

/** Provider's name in the conventions, for each backend. A backend without an entry uses its own name. */
export const GEN_AI_PROVIDERS: Readonly<Record<string, string>> = {
  openai: 'openai',
  'openai-live': 'openai',
  gemini: 'gcp.gemini',
}
