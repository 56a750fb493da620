# unit_test lines of this folder
unit_test(cli/options clilib)
unit_test(cli/report/colour clilib)
unit_test(cli/report/diagnostic clilib)
unit_test(cli/report/pace clilib)
unit_test(cli/report/plan clilib)
unit_test(cli/report/text clilib)
unit_test(cli/report/width clilib)
