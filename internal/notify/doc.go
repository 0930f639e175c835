// Package notify wakes a ring's sleeping reader without a system call a packet.
//
// No wake-up is lost, because each side stores first and loads second. A writer
// stores the slot's status, then loads the flag of [Notify]. A sleeper stores
// the flag ([Notify.Arm]), then loads the status once more before it sleeps.
// On both sides a full barrier lies between, so at least one side sees the other's store.
package notify
