/** Which blocks among others ssb-ebt is told of: each once, and what a whole reading no longer names is taken back. */
import fc = require('fast-check')
import test = require('tape')

import { createEdges } from '../../src/replication/core/edges'

const PEOPLE = ['me', 'a', 'b', 'c', 'd']

test('what ssb-ebt was told is what the edges say, whatever the order, and nothing is said twice', (t) => {
  const person = fc.constantFrom(...PEOPLE)
  const edge = fc.record({ source: person, dest: person, value: fc.constantFrom(1, -1, -1.1, -2, null, 0) })
  const step = fc.oneof(
    { weight: 5, arbitrary: edge },
    { weight: 1, arbitrary: fc.record({ whole: fc.array(edge, { maxLength: 8 }) }) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const edges = createEdges('me')
      const told = new Set<string>()
      const model = new Map<string, unknown>()
      const take = (call: { source: string; dest: string; isBlocking: boolean } | null): void => {
        if (!call) return
        const pair = `${call.source}>${call.dest}`
        if (told.has(pair) === call.isBlocking) throw new Error(`${pair} was said twice`)
        if (call.isBlocking) told.add(pair)
        else told.delete(pair)
      }
      const say = (each: { source: string; dest: string; value: number | null }): void => {
        model.set(`${each.source}>${each.dest}`, each.value)
        take(edges.set(each.source, each.dest, each.value))
      }
      for (const each of steps) {
        if (!('whole' in each)) say(each)
        else {
          model.clear()
          edges.begin()
          each.whole.forEach(say)
          edges.end().forEach(take)
        }
        const expected = [...model]
          .filter(([pair, value]) => !pair.split('>').includes('me') && (value === -1 || value === -1.1))
          .map(([pair]) => pair)
        if (expected.sort().join() !== [...told].sort().join()) throw new Error(`${[...told]} instead of ${expected}`)
        if (edges.size() !== told.size) throw new Error('size')
        for (const source of PEOPLE) {
          const isSource = expected.some((pair) => pair.startsWith(`${source}>`))
          if (edges.hasSource(source) !== isSource) throw new Error(`hasSource ${source}`)
          for (const dest of PEOPLE)
            if (edges.has(source, dest) !== told.has(`${source}>${dest}`)) throw new Error(`has ${source} ${dest}`)
        }
      }
    }),
    { numRuns: 500 },
  )
  t.pass('500 random histories')
  t.end()
})
