/**
 * What the manager says that one should do, in the words of the command line: it names its calls (`connections.start()`), and
 * whoever reads it here has commands (`sbot-connections start`). What has no command stays as it is.
 */
import { timestamp } from './text'

const PROGRAM = 'sbot-connections'

/** Longer forms before the shorter ones that they begin with. `who`: in the place of the peer, an id or `PEER`. */
const COMMANDS: readonly (readonly [RegExp, (who: string, match: RegExpMatchArray) => string])[] = [
  [/connections\.start\(\)/g, () => 'start'],
  [
    /connections\.setMaxByType\(\{([^}]*)\}\)/g,
    (_, [, pairs = '']) => `max ${pairs.replace(/\s*:\s*/g, '=').replace(/\s*,\s*/g, ' ')}`,
  ],
  [/initialSync\.stop\(\)/g, () => 'sync --stop'],
  [/peer\.setPriority\(\{id, priority: 'AUTO'\}\)/g, (who) => `unban ${who}`],
  [/peer\.setPriority\(\{id, priority: '(\w+)'\}\)/g, (who, [, priority]) => `priority ${who} ${priority}`],
  [/peer\.setLongTerm\(\{id, isLongTerm: false\}\)/g, (who) => `disconnect --no-longer ${who}`],
  [/peer\.setLongTerm/g, (who) => `connect --forever ${who}`],
  [/peer\.connect/g, (who) => `connect ${who}`],
  [/peer\.explain/g, (who) => `why ${who}`],
  [/peer\.addRoute/g, () => 'add ADDRESS'],
  [/peer\.removeRoute/g, () => 'remove ADDRESS'],
  [/replicationScheduler\.status\(\)/g, () => 'replication'],
]

const TIME = /\b\d{4}-\d\d-\d\dT[\d:.]+Z/g

/** Times as people here read them. */
export function withLocalTimes(text: string): string {
  return text.replace(TIME, (time) => timestamp(Date.parse(time)))
}

/** One line for each thing that may be done. `who`: the id of the peer that the sentence is about, if it is about one. */
export function asSteps(remedy: string, who?: string): string[] {
  return asCommands(remedy, who).split('; ')
}

/** What a key of `watch` does with the peer of its row, or with all. */
const KEYS: readonly (readonly [RegExp, string])[] = [
  [/connections\.start\(\)/g, 's'],
  [/peer\.connect/g, 'c'],
  [/peer\.explain/g, 'Enter'],
  [/peer\.addRoute/g, 'a'],
  [/peer\.setPriority\(\{id, priority: 'AUTO'\}\)/g, 'u'],
]

/** For `watch`: by its keys what those do, the rest by commands. */
export function asKeys(remedy: string): string {
  return asCommands(KEYS.reduce((text, [call, key]) => text.replace(call, `the key ${key}`), remedy))
}

/** `who` as in `asSteps`. */
export function asCommands(remedy: string, who = 'PEER'): string {
  let text = withLocalTimes(remedy)
  for (const [call, command] of COMMANDS)
    text = text.replace(call, (...match) => `${PROGRAM} ${command(who, match as unknown as RegExpMatchArray)}`)
  return text
}
