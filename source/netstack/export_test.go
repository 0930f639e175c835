package netstack

var TransmitTo = transmitTo
