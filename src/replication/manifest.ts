/** What the replication scheduler offers over muxrpc, and to whom. The types are behaviour: secret-stack wraps methods by them. */
export const manifest = {
  start: 'sync',
  reconfigure: 'sync',
  request: 'sync',
  status: 'sync',
  feeds: 'source',
  explain: 'sync',
  progress: 'source',
} as const

/** Strangers may call nothing: which feeds we replicate says whom we know. */
export const permissions = { anonymous: { allow: [] as string[] } }
