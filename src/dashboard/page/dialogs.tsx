/** What is asked before something is cut, and how it went. */
import { useEffect, useRef } from 'preact/hooks'

import type { Confirmation } from './actions'
import { clean } from './format'

export interface Question {
  readonly confirmation: Confirmation
  readonly answer: (isConfirmed: boolean) => void
}

export function ConfirmDialog({ question }: { question: Question | null }) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    if (question !== null && dialog.current?.open === false) dialog.current.showModal()
    if (question === null && dialog.current?.open === true) dialog.current.close()
  }, [question])
  return (
    <dialog
      ref={dialog}
      aria-labelledby="confirm-title"
      aria-describedby="confirm-text"
      // Escape.
      onCancel={(event) => {
        event.preventDefault()
        question?.answer(false)
      }}
    >
      {question !== null && (
        <>
          <h2 id="confirm-title">
            <bdi>{question.confirmation.title}</bdi>
          </h2>
          <div id="confirm-text">
            {question.confirmation.lines.map((line) => (
              <p key={line}>
                <bdi>{line}</bdi>
              </p>
            ))}
          </div>
          <div class="dialog-deeds">
            {/* The harmless one has the focus. */}
            <button type="button" autofocus onClick={() => question.answer(false)}>
              Cancel
            </button>
            <button type="button" class="danger" onClick={() => question.answer(true)}>
              {question.confirmation.verb}
            </button>
          </div>
        </>
      )}
    </dialog>
  )
}

export interface Notice {
  readonly id: number
  readonly kind: 'working' | 'done' | 'failed'
  readonly text: string
}

export function Notices({ notices, dismiss }: { notices: readonly Notice[]; dismiss: (id: number) => void }) {
  return (
    <div class="notices" role="log" aria-live="polite" aria-label="Answers">
      {notices.map((notice) => (
        <div key={notice.id} class={`notice is-${notice.kind}`}>
          <p>
            <bdi>{clean(notice.text, 400)}</bdi>
          </p>
          <button type="button" class="quiet small" onClick={() => dismiss(notice.id)} aria-label="Dismiss">
            ✕
          </button>
        </div>
      ))}
    </div>
  )
}
