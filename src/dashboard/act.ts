/**
 * What the page may ask for: read strictly, as it comes from a browser, and done through the public API of the manager, which
 * checks addresses, ids and numbers itself. Nothing is done unless the whole of it was understood.
 */
import { parseAddress } from '../core/address'
import { ConnectionManagerError, errorInfo, InvalidArgumentError } from '../core/errors'
import type { Explanation } from '../core/selectors'
import type { Priority } from '../core/types'
import type { ConnectionManager } from '../manager'
import type { Act, Answer, ExplainAnswer } from './protocol'

export type ManagerApi = Pick<ConnectionManager, 'peer' | 'connections' | 'initialSync'>

/** More than any address has. */
const MAX_TARGET = 1_000
const MAX_TYPES = 32
const MAX_TARGETS = 100

type Fields = Readonly<Record<string, unknown>>
type Reader = (value: unknown) => boolean

const isText: Reader = (value) => typeof value === 'string' && value.length > 0 && value.length <= MAX_TARGET
const isFlag: Reader = (value) => typeof value === 'boolean'
const PRIORITIES: readonly unknown[] = ['HIGH', 'MEDIUM', 'LOW', 'BANNED', 'AUTO'] satisfies (Priority | 'AUTO')[]

function isMax(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const counts = Object.values(value)
  return counts.length > 0 && counts.length <= MAX_TYPES && counts.every((count) => typeof count === 'number')
}

interface Field {
  readonly is: Reader
  readonly expected: string
  readonly isOptional?: boolean
}

const TARGET: Field = { is: isText, expected: 'a feed id or an address' }
const FLAG: Field = { is: isFlag, expected: 'true or false' }

/** The fields of each action, and nothing else. */
const ACTIONS: { readonly [A in Act['action']]: Readonly<Record<string, Field>> } = {
  connect: { target: TARGET, isLongTerm: { ...FLAG, isOptional: true } },
  disconnect: { target: TARGET },
  setPriority: {
    target: TARGET,
    priority: { is: (value) => PRIORITIES.includes(value), expected: 'HIGH, MEDIUM, LOW, BANNED or AUTO' },
  },
  setLongTerm: { target: TARGET, isLongTerm: FLAG },
  addRoute: { address: TARGET, peer: { ...TARGET, isOptional: true } },
  removeRoute: { address: TARGET },
  setMax: { max: { is: isMax, expected: 'an object of numbers such as {"net": 3}' } },
  start: {},
  stop: {},
  syncStart: { target: { ...TARGET, isOptional: true } },
  syncStop: {},
}

function toFields(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InvalidArgumentError('body', 'an object', value)
  return value as Fields
}

/** Throws InvalidArgumentError (ERR_INVALID_ARGUMENT), or an error with ERR_UNKNOWN_ACTION. */
export function readAct(value: unknown): Act {
  const fields = toFields(value)
  const { action } = fields
  if (typeof action !== 'string' || !Object.prototype.hasOwnProperty.call(ACTIONS, action))
    throw new ConnectionManagerError(
      'UnknownActionError',
      'ERR_UNKNOWN_ACTION',
      `there is no such action; known are ${Object.keys(ACTIONS).join(', ')}`,
    )
  const known = ACTIONS[action as Act['action']]
  // An own `__proto__`, as JSON may have, is among the keys too.
  for (const name of Object.keys(fields))
    if (name !== 'action' && !Object.prototype.hasOwnProperty.call(known, name))
      throw new InvalidArgumentError(action, `no other fields than ${Object.keys(known).join(', ') || 'none'}`, name)
  for (const [name, { is, expected, isOptional }] of Object.entries(known)) {
    const given = fields[name]
    if ((given !== undefined || !isOptional) && !is(given)) throw new InvalidArgumentError(name, expected, given)
  }
  return fields as unknown as Act
}

/** What was added for one peer must not turn up at another: whoever pasted the wrong line would look for it in vain. */
function assertOf(peer: string, address: string): void {
  const other = parseAddress(address).find((route) => route.peer !== peer)
  if (other)
    throw new ConnectionManagerError(
      'OtherPeerError',
      'ERR_OTHER_PEER',
      `that is an address of another peer, ${other.peer}: nothing was added`,
    )
}

/** Does it. Throws what the manager throws. Bans come from the user, so that no module lifts them. */
async function perform({ peer, connections, initialSync }: ManagerApi, act: Act): Promise<unknown> {
  switch (act.action) {
    case 'connect':
      await peer.connect({ address: act.target, ...(act.isLongTerm ? { isLongTerm: true } : {}) })
      // A connection holds keys and live objects.
      return true
    case 'disconnect':
      return peer.disconnect(act.target)
    case 'setPriority':
      return peer.setPriority({ address: act.target, priority: act.priority })
    case 'setLongTerm':
      return peer.setLongTerm({ address: act.target, isLongTerm: act.isLongTerm })
    case 'addRoute':
      if (act.peer !== undefined) assertOf(act.peer, act.address)
      return peer.addRoute({ address: act.address })
    case 'removeRoute':
      return peer.removeRoute({ address: act.address })
    case 'setMax':
      connections.setMaxByType(act.max)
      return true
    case 'start':
      connections.start()
      return true
    case 'stop':
      connections.stop()
      return true
    case 'syncStart':
      initialSync.start(act.target)
      return true
    case 'syncStop':
      initialSync.stop()
      return true
    default: {
      const unknown: never = act
      return unknown
    }
  }
}

export function failure(error: unknown): Answer {
  const { message, code } = errorInfo(error)
  return { ok: false, error: { code: code ?? 'ERR_FAILED', message } }
}

/** Never rejects: what goes wrong is the answer, with the code of the error. */
export async function answerAct(manager: ManagerApi, act: Act): Promise<Answer> {
  try {
    return { ok: true, result: await perform(manager, act) }
  } catch (error) {
    return failure(error)
  }
}

/** Throws InvalidArgumentError. */
export function readTargets(value: unknown): readonly string[] {
  const fields = toFields(value)
  const { targets } = fields
  if (Object.keys(fields).some((name) => name !== 'targets'))
    throw new InvalidArgumentError('explain', 'targets only', fields)
  if (!Array.isArray(targets) || targets.length > MAX_TARGETS || !targets.every(isText))
    throw new InvalidArgumentError('targets', `at most ${MAX_TARGETS} addresses or feed ids`, targets)
  return targets as readonly string[]
}

export function answerExplain(manager: ManagerApi, targets: readonly string[]): ExplainAnswer {
  return targets.map((target): Explanation | null => {
    try {
      return manager.peer.explain(target)
    } catch {
      return null
    }
  })
}
