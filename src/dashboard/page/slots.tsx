/** Slots of each class: how many there are, who holds them, who waits. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'

import type { ClassStatus } from '../../core/selectors'
import { setMax } from './actions'
import { useApp } from './app'
import { ahead, clean, count, percent } from './format'
import { Section } from './parts'
import { classesOf } from './query'

/** As many are drawn one by one; more as a bar. */
const CELLS_MAX = 24
const CLASSES_MAX = 30

export function Slots() {
  const { model } = useApp()
  const { status } = model
  const [isAll, setAll] = useState(false)
  const names = status === null ? [] : Object.keys(status.classes).slice(0, CLASSES_MAX)
  const ofRoutes = useMemo(() => new Set(classesOf(model.peers)), [model, model.versions.peers])
  // Whoever once had something stays: a row must not vanish under the hand that sets its slots.
  const known = useRef(new Set<string>())
  for (const name of names) {
    const each = status?.classes[name]
    const busy = each === undefined ? 0 : each.connected + each.dialing + each.closing + each.waiting
    if (busy > 0 || ofRoutes.has(name)) known.current.add(name)
  }
  const used = names.filter((name) => known.current.has(name))
  const others = names.filter((name) => !known.current.has(name))
  const shown = isAll ? [...used, ...others] : used
  return (
    <Section
      id="slots"
      title="Slots"
      aside={
        <ul class="legend" aria-label="Legend">
          <li>
            <i class="cell is-connected" /> connected
          </li>
          <li>
            <i class="cell is-dialing" /> dialing
          </li>
          <li>
            <i class="cell is-free" /> free
          </li>
        </ul>
      }
    >
      {status === null ? (
        <p class="empty">Loading …</p>
      ) : (
        <ul class="slots">
          {shown.map((name) => (
            <SlotClass key={name} name={name} status={status.classes[name] as ClassStatus} />
          ))}
        </ul>
      )}
      {status !== null && used.length === 0 && !isAll && <p class="empty">No class has a route yet.</p>}
      {others.length > 0 && (
        <button type="button" class="quiet" aria-expanded={isAll} onClick={() => setAll(!isAll)}>
          {isAll ? 'Show fewer' : `Show ${count(others.length)} more`}
        </button>
      )}
    </Section>
  )
}

function SlotClass({ name, status }: { name: string; status: ClassStatus }) {
  const app = useApp()
  const [entered, setEntered] = useState<string | null>(null)
  const { max, connected, dialing, closing, waiting } = status
  // What was entered stands until the sbot says what it is now.
  useEffect(() => setEntered(null), [max])
  const taken = connected + dialing + closing
  const free = Math.max(0, max - taken)
  const value = entered ?? String(max)
  const wanted = Number(value)
  const isValid = value.trim() !== '' && Number.isInteger(wanted) && wanted >= 0 && wanted <= 10_000
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    if (!isValid) return
    await app.perform(setMax(name, wanted, status))
  }
  const words = [
    `${count(connected)} connected`,
    ...(dialing > 0 ? [`${count(dialing)} dialing`] : []),
    ...(closing > 0 ? [`${count(closing)} closing`] : []),
    max === 0 ? 'no slots' : `${count(free)} free`,
    `${count(waiting)} waiting`,
  ].join(' · ')
  const more = [
    ...(status.nextAttemptAt === null ? [] : [`next ${ahead(status.nextAttemptAt, app.now)}`]),
    ...(status.successRate === null ? [] : [`success ${percent(status.successRate)}`]),
  ].join(' · ')
  const shown = clean(name, 20)
  return (
    <li class="slot-class">
      <h3>
        <bdi>{shown}</bdi>
      </h3>
      <div class="slot-bar" aria-hidden="true">
        <Cells counts={[connected, dialing, closing, free]} />
      </div>
      <form onSubmit={(event) => void submit(event)}>
        <input
          type="number"
          min="0"
          max="10000"
          step="1"
          value={value}
          aria-label={`Slots of ${shown}`}
          aria-invalid={!isValid}
          onInput={(event) => setEntered(event.currentTarget.value)}
        />
        <button
          type="submit"
          class="small"
          disabled={entered === null || !isValid || wanted === max}
          aria-label={`Set the slots of ${shown}`}
        >
          Set
        </button>
      </form>
      <p class="slot-words">
        {words}
        {more !== '' && <span class="faint"> · {more}</span>}
      </p>
    </li>
  )
}

const KINDS = ['connected', 'dialing', 'closing', 'free'] as const

function Cells({ counts }: { counts: readonly number[] }) {
  const total = counts.reduce((sum, each) => sum + each, 0)
  if (total > CELLS_MAX)
    return (
      <>
        {KINDS.map((kind, i) =>
          counts[i] ? <i key={kind} class={`stretch is-${kind}`} style={{ flexGrow: counts[i] }} /> : null,
        )}
      </>
    )
  return (
    <>
      {KINDS.flatMap((kind, i) =>
        Array.from({ length: counts[i] ?? 0 }, (_, n) => <i key={`${kind} ${n}`} class={`cell is-${kind}`} />),
      )}
    </>
  )
}
